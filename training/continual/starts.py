"""How many challengers may bet in a day.

Each is released without reason with the probability `ALPHA` at most, so their number bounds how
often that happens.
"""

from __future__ import annotations

import msgspec

from feedmill.events.errors import UsageError
from feedmill.models.store_files import Store, place_of, read_file, write_file

_DAY_MS = 24 * 60 * 60 * 1000


class Starts:
    """Counts the starts of the last 24 hours, in a file of the store that a restart reads.

    Raises
    ------
    UsageError
        The file is not one of these.
    """

    def __init__(self, store: Store, file: str, most: int) -> None:
        self._store, self._file = store, file
        self._most = most
        self._at_ms: list[int] = []
        try:
            self._at_ms = msgspec.json.decode(read_file(store, file), type=list[int])
        except FileNotFoundError:
            pass
        except msgspec.DecodeError as error:
            path = place_of(store, file)
            raise UsageError(f"{path}: {error}; remove it to count from 0") from error

    def next_ms(self, now_ms: int) -> int:
        """Return from when on the next start is allowed; `now_ms` or earlier if it is now."""
        recent = [at_ms for at_ms in self._at_ms if at_ms > now_ms - _DAY_MS]
        return now_ms if len(recent) < self._most else recent[-self._most] + _DAY_MS

    def begin(self, now_ms: int) -> str:
        """Count a start, if one is left; return why none may begin, "" if it may."""
        next_ms = self.next_ms(now_ms)
        if next_ms > now_ms:
            return f"no start is left for {(next_ms - now_ms) / 60_000:.0f} minutes"
        self._at_ms = [*(at_ms for at_ms in self._at_ms if at_ms > now_ms - _DAY_MS), now_ms]
        write_file(self._store, self._file, msgspec.json.encode(self._at_ms))
        return ""
