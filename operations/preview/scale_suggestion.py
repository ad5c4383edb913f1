"""Scales at which the objectives of a feed count alike, by the signals of a product's own posts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.events.settings import Settings
from feedmill.operations.preview.scales import (
    LEAST_SHARE,
    Disagreements,
    disagreements,
    fairest_scale,
)
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
