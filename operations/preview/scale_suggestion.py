"""Scales at which the objectives of a feed count alike, by the signals of a product's own posts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.feed_set import candidates
from feedmill.rankers.combiner.view import PostView

# With fewer pairs of a kind its share would be known to some seven points.
LEAST_PAIRS = 200
# Engagement's `revision` is the last engagement that it counted for the post.
SEEN, UNSEEN = "with engagements", "without engagements"


class SuggestedScale(NamedTuple):
    """The scale of one objective beside the reference, whose scale stays.

    Attributes
    ----------
    objective, now
        Which, and its present scale.
    suggested
        With three digits, the scale at which the share of whoever wins least is highest.
    kinds
        By kind of posts the pairs that the two order apart.
    """

    objective: str
    now: float
    suggested: float
    kinds: Mapping[str, Disagreements]

    @property
    def is_fair(self) -> bool:
        """Whether each of the two wins a quarter of the pairs of each kind."""
        shares = [pairs.share(self.suggested) for pairs in self.kinds.values()]
        return all(LEAST_SHARE <= share <= 1 - LEAST_SHARE for share in shares)


class Suggestion(NamedTuple):
    """The scales of a feed: of how many posts and communities, beside which objective."""

    feed: str
    posts: int
    communities: int
    reference: str
    scales: tuple[SuggestedScale, ...]


def suggest_scales(view: PostView, settings: Settings, feed: str, now_ms: int) -> Suggestion:
    """Find the scales of the objectives that a feed weighs, beside quality or the first of them.

    From pairs of posts that the feed may show, of one community; posts without any are one.

    Raises
    ------
    UsageError
        The feed weighs one objective only, or there are too few pairs.
    """
    weights = settings.weights_of(feed)
    weighed = [name for name, weight in weights.objectives.items() if weight]
    if len(weighed) < 2:
        raise UsageError(
            f"`{feed}` weighs {weighed[0]} alone, so no scale changes its order; give another"
            " objective a weight first"
        )
    reference, *others = weighed
    rows = candidates(view, settings, feed, now_ms)
    communities = _communities(view, rows, feed)
    scales = []
    for name in others:
        kinds = _kinds(view, rows, communities, (reference, name), weights.scale[reference])
        suggested = float(f"{fairest_scale(kinds):.3g}")
        scales.append(SuggestedScale(name, weights.scale[name], suggested, kinds))
    return Suggestion(feed, len(rows), len(np.unique(communities)), reference, tuple(scales))


def _kinds(
    view: PostView,
    rows: npt.NDArray[np.int32],
    communities: npt.NDArray[np.int64],
    pair: tuple[str, str],
    scale: float,
) -> dict[str, Disagreements]:
    """The pairs by kind of posts, of kinds that have enough of them."""
    first, other = (view.signals[name] for name in pair)
    is_judged = first.is_current(rows) & other.is_current(rows)
    is_seen = view.signals["engagement"].revision[rows] > 0
    found = {}
    for kind, of_kind in ((UNSEEN, is_judged & ~is_seen), (SEEN, is_judged & is_seen)):
        mine = rows[of_kind]
        values = (
            first.value.values[mine].astype(float) * scale,
            other.value.values[mine].astype(float),
        )
        pairs = disagreements(communities[of_kind], *values)
        if len(pairs.ratios) >= LEAST_PAIRS:
            found[kind] = pairs
    if not found:
        raise UsageError(
            f"too few pairs of posts of one community have {pair[0]} and {pair[1]} that order them"
            f" apart: expected {LEAST_PAIRS}, found fewer; wait until more posts were judged"
        )
    return found


def _communities(view: PostView, rows: npt.NDArray[np.int32], feed: str) -> npt.NDArray[np.int64]:
    """The number of the first community of each post; a feed of one community is one."""
    if pattern_of(feed) == "community:*":
        return np.zeros(len(rows), np.int64)
    names = {"": 0}
    of_group = np.zeros(len(view.groups.values), np.int64)
    for number, group in enumerate(view.groups.values):
        if group is not None:
            of_group[number] = names.setdefault(next(iter(group.communities), ""), len(names))
    return of_group[view.post.group[rows]]


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
