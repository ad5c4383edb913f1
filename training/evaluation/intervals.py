"""Intervals of 95 % for what is measured on rows that come in groups.

Rows of one group (a subreddit, a page, a video) resemble each other, so groups are drawn with
replacement, not rows: the cluster bootstrap (Davison and Hinkley 1997, section 3.8).  Of fewer than
20 groups too few would be drawn; then rows are, and fractions get Wilson's binomial interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.training.arrays import Mask, Values, Weights

MIN_GROUPS = 20
DRAWS = 1_000
_CHUNK = 50
_ENDS = (0.025, 0.975)
_DEVIATIONS = 1.959963984540054  # of the normal distribution, at those ends
_SEED = 20


class Figure(msgspec.Struct, frozen=True, array_like=True):
    """A figure and the ends of its interval of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


NOTHING_KNOWN = Figure(0.0, 0.0, 1.0)


def wilson(hits: int, rows: int) -> Figure:
    """Return a fraction with Wilson's binomial interval (Wilson 1927)."""
    if not rows:
        return NOTHING_KNOWN
    fraction, spread = hits / rows, _DEVIATIONS**2 / rows
    middle = (fraction + spread / 2) / (1 + spread)
    half = np.sqrt(fraction * (1 - fraction) * spread + spread**2 / 4) / (1 + spread)
    return Figure(fraction, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


class Bootstrap:
    """Draws of groups with replacement, the same for all figures of the same rows.

    So the difference of two models' figures is a paired one.

    Parameters
    ----------
    groups
        The group of each row.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        names, group_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
        self.groups = len(names)
        self.is_clustered = self.groups >= MIN_GROUPS
        self._clusters = self.groups if self.is_clustered else len(group_of)
        self._cluster_of = group_of if self.is_clustered else np.arange(len(group_of))

    @cached_property
    def _draws(self) -> npt.NDArray[np.float32]:
        """How often each cluster is drawn: (draws, clusters)."""
        random, clusters = np.random.default_rng(_SEED), self._clusters
        drawn = np.empty((DRAWS, clusters), np.float32)
        for i in range(DRAWS):
            drawn[i] = np.bincount(random.integers(0, clusters, clusters), minlength=clusters)
        return drawn

    def fraction(self, hits: Mask, among: Mask) -> Figure:
        """Return the fraction of the rows `among` that are `hits`, masks of (rows,) each.

        The interval is the wider of both ends: that of the bootstrap has no width where every row
        is a hit, or none.
        """
        rows = int(among.sum())
        figure = wilson(int((hits & among).sum()), rows)
        if not rows or not self.is_clustered:
            return figure
        counts = [
            np.bincount(self._cluster_of, mask, self._clusters) for mask in (hits & among, among)
        ]
        some, all_rows = (self._draws @ np.stack(counts, axis=1)).T
        ends = _ends((some / np.where(all_rows > 0, all_rows, np.nan))[:, None])
        low, high = (float(end[0]) for end in ends)
        return Figure(figure.value, min(figure.low, low), max(figure.high, high))

    def figures(self, measure: Callable[[Weights], Values]) -> list[Figure]:
        """Return figures with intervals.

        Parameters
        ----------
        measure
            Makes (draws, figures) of (draws, rows) weights, NaN where there is none.
        """
        values = measure(np.ones((1, len(self._cluster_of))))[0]
        chunks = range(0, DRAWS, _CHUNK)
        drawn = [measure(self._draws[at : at + _CHUNK][:, self._cluster_of]) for at in chunks]
        low, high = _ends(np.concatenate(drawn))
        return [
            NOTHING_KNOWN
            if np.isnan(value)
            else Figure(float(value), float(low[i]), float(high[i]))
            for i, value in enumerate(values)
        ]


def _ends(drawn: Values) -> tuple[Values, Values]:
    """Return the ends of (draws, figures), (figures,) each; draws without a figure do not count."""
    empty = np.isnan(drawn).all(axis=0)
    drawn = np.where(empty, 0.0, drawn)
    low, high = np.nanquantile(drawn, _ENDS, axis=0)
    return np.where(empty, 0.0, low), np.where(empty, 1.0, high)
