"""The time of day of this host."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


_MAX_JUMP_MS = 3_600_000
# A stamp may have been long on its way; of so long the one that puts the time furthest holds.
_WINDOW_MS = 60_000


class LogClock:
    """The log's time: the newest broker's stamp on `instances`, and what passed since.

    The same for all workers to within the delay of a read, whatever the clocks of their hosts.  It
    never goes back: where it is ahead of the broker, it stands still until the broker is there.
    One thread stamps it, any may read it.  Before the first stamp it is the host's time of day.
    """

    def __init__(self, monotonic_ms: Callable[[], float] = lambda: time.monotonic() * 1000) -> None:
        self.refused = 0
        self.trouble = ""
        self._monotonic_ms = monotonic_ms
        self._base_ms: float | None = None
        self._latest_ms = 0
        self._window_ends_ms = -inf
        self._window_base_ms = -inf  # the highest within the window

    @property
    def is_set(self) -> bool:
        """Whether a stamp was seen."""
        return self._base_ms is not None

    def now_ms(self) -> int:
        """Unix milliseconds."""
        if self._base_ms is None:
            return now_ms()
        self._latest_ms = max(self._latest_ms, int(self._base_ms + self._monotonic_ms()))
        return self._latest_ms

    def stamp(self, at_ms: int) -> bool:
        """Take a broker's timestamp; refuse one more than an hour away, and return whether."""
        monotonic_ms = self._monotonic_ms()
        base = at_ms - monotonic_ms
        if self._base_ms is not None and abs(base - self._base_ms) > _MAX_JUMP_MS:
            self.refused += 1
            self.trouble = (
                f"the broker's clock jumped by {(base - self._base_ms) / 3_600_000:+.1f} hours;"
                " the old time goes on. Correct that clock, or restart all workers to follow it"
            )
            return False
        self.trouble = ""
        self._window_base_ms = max(self._window_base_ms, base)
        if self._base_ms is None or base > self._base_ms:
            self._base_ms = base
        elif monotonic_ms >= self._window_ends_ms:
            self._base_ms = self._window_base_ms
        if monotonic_ms >= self._window_ends_ms:
            self._window_base_ms, self._window_ends_ms = base, monotonic_ms + _WINDOW_MS
        return True
