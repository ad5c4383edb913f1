"""The time of day of this host."""

from __future__ import annotations

import time
from collections.abc import Callable


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


_MAX_JUMP_MS = 3_600_000


class LogClock:
    """The log's time: the newest broker's stamp on `instances`, and what passed since.

    The same for all workers to within the delay of a read, whatever the clocks of their hosts.
    One thread uses it.  Before the first stamp it is the host's time of day.
    """

    def __init__(self, monotonic_ms: Callable[[], float] = lambda: time.monotonic() * 1000) -> None:
        self.refused = 0
        self.trouble = ""
        self._monotonic_ms = monotonic_ms
        self._base_ms: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether a stamp was seen."""
        return self._base_ms is not None

    def now_ms(self) -> int:
        """Unix milliseconds."""
        if self._base_ms is None:
            return now_ms()
        return int(self._base_ms + self._monotonic_ms())

    def stamp(self, at_ms: int) -> bool:
        """Take a broker's timestamp; refuse one more than an hour away, and return whether."""
        base = at_ms - self._monotonic_ms()
        if self._base_ms is None:
            self._base_ms = base
        elif abs(base - self._base_ms) > _MAX_JUMP_MS:
            self.refused += 1
            self.trouble = (
                f"the broker's clock jumped by {(base - self._base_ms) / 3_600_000:+.1f} hours;"
                " the old time goes on. Correct that clock, or restart all workers to follow it"
            )
            return False
        else:
            # A stamp that was long on its way must not put the time back.
            self._base_ms = max(self._base_ms, base)
            self.trouble = ""
        return True
