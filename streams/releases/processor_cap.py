"""What something may take of a core, by the processor time that it was measured to take."""

from __future__ import annotations

import time
from collections.abc import Callable

# What was not taken is saved up for so long.
_SAVED_S = 1.0


class ProcessorCap:
    """Lets work begin while its processor time is within a share of the time that passes.

    The last piece of work may go beyond; the next one waits until that is made up for.

    Parameters
    ----------
    core_share
        How much of one core, above 0 and at most 1.
    now_s
        The time in seconds; it never goes back.
    """

    def __init__(self, core_share: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._core_share = core_share
        self._now_s = now_s
        self._allowed_s = core_share * _SAVED_S
        self._seen_s = now_s()

    def may_begin(self) -> bool:
        """Return whether anything is left."""
        now_s = self._now_s()
        gained_s = (now_s - self._seen_s) * self._core_share
        self._allowed_s = min(self._allowed_s + gained_s, self._core_share * _SAVED_S)
        self._seen_s = now_s
        return self._allowed_s > 0

    def spend(self, seconds: float) -> None:
        """Take the processor time that a piece of work took."""
        self._allowed_s -= seconds
