"""One feed, or the decisions about all posts, under settings of the caller's choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_build import FeedBuild
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import PolicyCache
from feedmill.rankers.combiner.feed_set import FeedSet
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.view import PostView


def rank_feed(view: PostView, settings: Settings, feed: str, now_ms: int) -> FeedRanking:
    """Rank all posts of a view in one feed, as a combiner that follows these settings does.

    A feed on demand is ranked whether it has a place or not, one under an experiment as the control
    is.  The settings must know the feed
    (`Settings.feed_of`).  The view stays as it is, and other rankings of it too.
    """
    made = _make(PolicyCache(view), replace(settings, experiments={}), feed, now_ms)
    return made.feeds[feed]


def candidates(view: PostView, settings: Settings, feed: str, now_ms: int) -> Rows:
    """The rows of all posts that a feed would show if it had the room and no author had a cap."""
    return candidates_of(view, rank_feed(view, settings, feed, now_ms), settings, now_ms)


def candidates_of(view: PostView, ranking: FeedRanking, settings: Settings, now_ms: int) -> Rows:
    """Return the same of a feed that was ranked, under any weights."""
    matcher, groups, rows = FeedMatcher(settings), view.groups.values, view.live_rows()
    takes = [
        group is not None and ranking.name in matcher.feeds_of(number, groups)
        for number, group in enumerate(groups)
    ]
    return ranking.candidates(rows[np.array(takes, bool)[view.post.group[rows]]], now_ms)


def decide_all(view: PostView, gates: Mapping[str, GatePolicy], now_ms: int) -> GateDecisions:
    """Decide all posts of a view under a policy, overrides included."""
    policies = PolicyCache(view)
    decisions = policies.decisions(gates)
    _make(policies, Settings(names=view.names), "", now_ms)
    return decisions


def _make(policies: PolicyCache, settings: Settings, feed: str, now_ms: int) -> FeedSet:
    """Go over all posts, and make one feed, or none for ""."""
    feeds = FeedSet(policies, settings, FeedMatcher(settings), feed.__eq__)
    feeds.is_closed = True
    build = FeedBuild(feeds, [feed] if feed else ())
    while build.work(now_ms):
        pass
    return feeds
