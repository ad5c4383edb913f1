"""How many challengers may bet in a day.

Each is released without reason with the probability `ALPHA` at most, so their number bounds how
often that happens.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from feedmill.events.errors import UsageError
from feedmill.models.artifact import write_whole

_DAY_MS = 24 * 60 * 60 * 1000


class Starts:
    """Counts the starts of the last 24 hours, in a file that a restart of the process reads.

    Raises
    ------
    UsageError
        The file is not one of these.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._most = most
        self._at_ms: list[int] = []
        if path.exists():
            try:
                self._at_ms = msgspec.json.decode(path.read_bytes(), type=list[int])
            except msgspec.DecodeError as error:
                raise UsageError(f"{path}: {error}; remove it to count from 0") from error

    def next_ms(self, now_ms: int) -> int:
        """Return from when on the next start is allowed; `now_ms` or earlier if it is now."""
        recent = [at_ms for at_ms in self._at_ms if at_ms > now_ms - _DAY_MS]
        return now_ms if len(recent) < self._most else recent[-self._most] + _DAY_MS

    def note(self, now_ms: int) -> None:
        """Count a start, before it begins."""
        self._at_ms = [*(at_ms for at_ms in self._at_ms if at_ms > now_ms - _DAY_MS), now_ms]
        write_whole(self._path, msgspec.json.encode(self._at_ms))
