"""How long to wait before taking more: the busier, the larger the batches.

A cycle costs the same whether it deals with one record or a hundred.  Stages that take
every record as it comes keep the processors busy with cycles, and then all wait for
each other; a pause in proportion to the last cycles keeps each to its share.
"""

from __future__ import annotations

import time

# What comes within it waits a little and shares a cycle; a request costs more than a record.
LEAST_PAUSE_S = 0.008
LONGEST_PAUSE_S = 0.05
# A stage works at most a third of the time before its batches grow.
PAUSE_PER_WORK = 2.0
_REMEMBER = 0.8


class Pace:
    """Follows how long cycles take; one task calls `worked`, one asks for `pause_s`."""

    def __init__(self) -> None:
        self._cycle_s = 0.0
        self._last_end = 0.0

    def worked(self, seconds: float) -> None:
        """Note a cycle that has just ended and took so long."""
        self._cycle_s = _REMEMBER * self._cycle_s + (1 - _REMEMBER) * seconds
        self._last_end = time.monotonic()

    def pause_s(self) -> float:
        """How long from now until more should be taken; 0 once the last cycle is long over."""
        wanted = min(max(self._cycle_s * PAUSE_PER_WORK, LEAST_PAUSE_S), LONGEST_PAUSE_S)
        return max(0.0, self._last_end + wanted - time.monotonic())
