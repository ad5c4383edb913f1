"""The time of day of this host."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


# A wrong time zone is an hour.  What is further would end overrides and windows by a mistake.
_MAX_JUMP_MS = 2 * 3_600_000
# A stamp may have been long on its way; of so long the one that puts the time furthest holds.
_WINDOW_MS = 60_000
# Stamps that are so far off and agree, so long after each other, are those of a clock that was set.
_STEP_MS = 5_000
_AGREE_MS = 500
_CONFIRMED_AFTER_MS = 1_000


class LogClock:
    """The log's time: the newest broker's stamp on `instances`, and what passed since.

    The same for all workers to within the delay of a read, whatever the clocks of their hosts.  It
    goes back only where the broker's clock was set back: where it is ahead by less than five
    seconds, it stands still until the broker is there.
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
        self._step: tuple[float, float] | None = None  # its base, and when it was seen first

    @property
    def is_set(self) -> bool:
        """Whether a stamp was seen."""
        return self._base_ms is not None

    @property
    def wants_stamp(self) -> bool:
        """Whether the next stamp says if the broker's clock was set."""
        step = self._step
        return step is not None and self._monotonic_ms() >= step[1] + _CONFIRMED_AFTER_MS

    def now_ms(self) -> int:
        """Unix milliseconds."""
        if self._base_ms is None:
            return now_ms()
        self._latest_ms = max(self._latest_ms, int(self._base_ms + self._monotonic_ms()))
        return self._latest_ms

    def stamp(self, at_ms: int) -> bool:
        """Take a broker's timestamp; refuse one more than two hours away, and return whether."""
        monotonic_ms = self._monotonic_ms()
        base = at_ms - monotonic_ms
        if self._base_ms is None:
            self._set(base, monotonic_ms)
            return True
        jump_ms = base - self._base_ms
        if abs(jump_ms) > _MAX_JUMP_MS:
            self.refused += 1
            self.trouble = (
                f"the broker's clock jumped by {jump_ms / 3_600_000:+.1f} hours;"
                " the old time goes on. Correct that clock, or restart all workers to follow it"
            )
            return False
        self.trouble = ""
        if abs(jump_ms) > _STEP_MS:
            self._follow_step(base, monotonic_ms)
            return True
        self._step = None
        self._window_base_ms = max(self._window_base_ms, base)
        if base > self._base_ms:
            self._base_ms = base
        elif monotonic_ms >= self._window_ends_ms:
            self._base_ms = self._window_base_ms
        if monotonic_ms >= self._window_ends_ms:
            self._window_base_ms, self._window_ends_ms = base, monotonic_ms + _WINDOW_MS
        return True

    def _follow_step(self, base: float, monotonic_ms: float) -> None:
        """Follow stamps far off that agree with each other; a late one agrees with no other."""
        step = self._step
        if step is None or abs(base - step[0]) > _AGREE_MS:
            self._step = base, monotonic_ms
        elif monotonic_ms >= step[1] + _CONFIRMED_AFTER_MS:
            self._set(base, monotonic_ms)

    def _set(self, base: float, monotonic_ms: float) -> None:
        self._base_ms = self._window_base_ms = base
        self._window_ends_ms, self._step = monotonic_ms + _WINDOW_MS, None
        self._latest_ms = 0
