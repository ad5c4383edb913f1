"""How values in [0, 1] are distributed at each hour of the day, and how far newer ones are away.

Values fall into bins of equal width in log-odds: calibrated probabilities crowd near 0 and 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]

HOURS = 24
EDGES = 1 / (1 + np.exp(-np.arange(-7.0, 7.01, 0.25)))
# 0 and 1, as those of a share, are in the first and in the last.
BINS = len(EDGES) + 1
# What an earlier day weighs beside the day after it: a reference is of about the last four days.
_DAY_WEIGHT = 0.75
_GROUPS = 10


class DailyProfile:
    """Counts of values by hour of the day (UTC) and bin, older days decayed.

    Attributes
    ----------
    counts
        (HOURS, BINS) float64, at least 0.
    """

    def __init__(self, counts: npt.ArrayLike | None = None) -> None:
        """Begin empty, or with counts; raises `ValueError` where these have another shape."""
        self.counts: Counts = np.zeros((HOURS, BINS))
        if counts is not None:
            self.counts = np.array(counts, dtype=np.float64)
            if self.counts.shape != (HOURS, BINS) or not (self.counts >= 0).all():
                raise ValueError(f"expected counts ({HOURS}, {BINS}), got {self.counts.shape}")

    def add_hour(self, hour: int, counts: Counts) -> None:
        """Add the (BINS,) counts of an hour that is over."""
        self.counts[hour] = self.counts[hour] * _DAY_WEIGHT + counts


def mid_ranks(counts: Counts) -> Counts:
    """Return by bin the share of (BINS,) counts below it, and half of those in it: (BINS,).

    The mid-ranks of values of the same distribution have the mean 0.5.
    """
    ranks: Counts = (np.cumsum(counts) - counts / 2) / counts.sum()
    return ranks


def bins_of(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the bin of each value, as many as there are values."""
    bins: npt.NDArray[np.int64] = np.searchsorted(EDGES, np.asarray(values), side="right")
    return bins


def stability_index(now: Counts, before: Counts) -> float:
    """Return the population stability index of (BINS,) counts against earlier ones, at least 0.

    ``sum((p - q) * ln(p / q))`` over at most ten groups of neighbouring bins, which `before`
    fills about evenly. Half a value is added to each group, so that none is empty. Where n and m
    values have the same distribution, it is about ``chi2(groups - 1) * (1 / n + 1 / m)``.
    """
    middle = (np.cumsum(before) - before / 2) / before.sum()
    group = np.minimum((middle * _GROUPS).astype(np.int64), _GROUPS - 1)
    is_there = np.bincount(group, minlength=_GROUPS) > 0
    p, q = (
        _shares(np.bincount(group, counts, _GROUPS)[is_there].astype(np.float64))
        for counts in (now, before)
    )
    return float(((p - q) * np.log(p / q)).sum())


def _shares(counts: Counts) -> Counts:
    smoothed = counts + 0.5
    shares: Counts = smoothed / smoothed.sum()
    return shares
