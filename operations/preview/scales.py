"""Which scale makes two objectives count alike, by pairs of posts that they order apart.

The posts of a pair are of one community.  Where one objective prefers the one post and another the
other post, the other objective wins if its scale is above a ratio: that of the differences of the
two signals.  At equal weights each wins as many pairs as have their ratio on its side of the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# Each objective is to win so many of the pairs at least.
LEAST_SHARE = 0.25
_PAIRS_A_POST = 8
_DRAWS = 500
_FEW_COMMUNITIES = 8
_SEED = 7
_INTERVAL = (0.025, 0.975)


class Disagreements(NamedTuple):
    """Pairs of posts of one community that two objectives order differently.

    Attributes
    ----------
    ratios
        (pairs,): above this scale the other objective wins, below it the first one.
    communities
        (pairs,): the number of the community.
    """

    ratios: Floats
    communities: Numbers

    def share(self, scale: float) -> float:
        """The share of the pairs that the other objective wins at a scale."""
        return float((self.ratios < scale).mean())

    def interval(self, scale: float) -> tuple[float, float]:
        """The 95 % interval of `share`: communities drawn with replacement, of few the pairs."""
        _, numbers = np.unique(self.communities, return_inverse=True)
        won, pairs = np.bincount(numbers, self.ratios < scale), np.bincount(numbers)
        random, count = np.random.default_rng(_SEED), len(pairs)
        if count < _FEW_COMMUNITIES:
            shares = random.binomial(pairs.sum(), self.share(scale), _DRAWS) / pairs.sum()
        else:
            shares = np.empty(_DRAWS)
            for draw in range(_DRAWS):
                times = np.bincount(random.integers(0, count, count), minlength=count)
                shares[draw] = (times @ won) / (times @ pairs)
        low, high = np.quantile(shares, _INTERVAL)
        return float(low), float(high)

    @property
    def fair_range(self) -> tuple[float, float]:
        """The scales at which each objective wins at least a quarter of the pairs."""
        low, high = np.quantile(self.ratios, (LEAST_SHARE, 1 - LEAST_SHARE))
        return float(low), float(high)


def disagreements(
    communities: npt.NDArray[np.integer], first: Floats, other: Floats
) -> Disagreements:
    """Draw pairs of posts within communities, and keep those that two signals order differently.

    Parameters
    ----------
    communities
        (posts,): the number of each post's community.
    first, other
        (posts,): the signals of the two objectives, the first one times its scale.
    """
    random = np.random.default_rng(_SEED)
    order = np.argsort(communities, kind="stable")
    _, starts, sizes = np.unique(communities[order], return_index=True, return_counts=True)
    # Of a post at a place in its community, others are drawn by how far they stand behind it.
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    place = np.arange(len(order)) - start
    pairs = []
    for _ in range(_PAIRS_A_POST):
        step = 1 + (random.random(len(order)) * (size - 1)).astype(np.intp)
        pairs.append((place + step) % size + start)
    one, two = np.tile(order, _PAIRS_A_POST), order[np.concatenate(pairs)]
    by_first, by_other = first[one] - first[two], other[one] - other[two]
    differ = by_first * by_other < 0
    ratios = np.abs(by_first[differ]) / np.abs(by_other[differ])
    return Disagreements(ratios, communities[one[differ]].astype(np.intp))


def fairest_scale(kinds: Mapping[Any, Disagreements]) -> float:
    """The scale at which the share of whoever wins least, in the kind where it does, is highest.

    `kinds` are pairs of several kinds of posts, such as those that were shown and those that were
    not, each with at least one pair.
    """
    ratios = [np.sort(pairs.ratios) for pairs in kinds.values()]
    candidates = np.unique(
        np.concatenate([np.quantile(r, np.linspace(0, 1, 1001)) for r in ratios])
    )
    shares = np.array([np.searchsorted(r, candidates) / len(r) for r in ratios])
    least = np.minimum(shares, 1 - shares).min(axis=0)
    best = np.flatnonzero(least >= least.max() - 1e-12)
    return float(np.sqrt(candidates[best[0]] * candidates[best[-1]]))
