"""Whether the mean of mid-ranks has moved from a half: river's ADWIN, and two limits.

ADWIN (Bifet and Gavalda 2007) keeps the longest window of the newest values that has one mean, in
memory that grows with the logarithm of its width.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

from feedmill.events.errors import UsageError

try:
    from river.drift import ADWIN
except ImportError as error:
    raise UsageError(
        "`feedmill models watch` needs river; install it: pip install 'feedmill[watch]'"
    ) from error

_LEAST_WIDTH = 100
# The logarithm of how unlikely chance is at one look, e^-18: a million looks raise none.
_CERTAINTY = 18.0


class ShiftDetector:
    """Takes mid-ranks of one stream in order."""

    def __init__(self) -> None:
        self._window: Any = ADWIN()

    def update_many(self, ranks: Iterable[float]) -> None:
        """Take the next ranks, each in [0, 1]."""
        for rank in ranks:
            self._window.update(rank)

    @property
    def shift(self) -> float:
        """How far the mean of the window is from a half, in [-0.5, 0.5]; 0 before any rank."""
        return float(self._window.estimation) - 0.5 if self._window.width else 0.0

    def is_certain(self, variance: float, reference: float) -> bool:
        """Whether the shift is more than chance, by Bernstein's inequality.

        Parameters
        ----------
        variance
            Of the ranks where nothing has changed.
        reference
            From how many earlier values the ranks were made.
        """
        width = int(self._window.width)
        if width < _LEAST_WIDTH:
            return False
        scale = 1 / width + 1 / reference
        # The second term holds for rare events; a rank is at most a half from its mean.
        limit = sqrt(2 * variance * _CERTAINTY * scale) + _CERTAINTY / 6 * scale
        return abs(self.shift) >= limit
