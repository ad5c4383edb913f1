"""The feeds under one state of the settings, and what a changed post changes in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from feedmill.events.arms import FeedExperiment
from feedmill.events.feeds import pattern_of
from feedmill.events.partition import of_shards, shard_of
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.armed_feed import ArmedFeed
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_places import FeedAuthors, FeedPlaces
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import FeedScores, PolicyCache

# Of so many posts that leave the window at once it takes some milliseconds.
_DROPPED_ROWS = 1024


class FeedSet:
    """Feeds by name, each with its ranking.

    Parameters
    ----------
    policies
        The scores of all posts; shared by all sets.
    settings, matcher
        What the feeds follow.
    concerns
        Which feeds, by name, may be in the set; the answer never changes.

    Attributes
    ----------
    view
        The posts.
    policies, settings, matcher
        As given.
    feeds
        The rankings.
    places
        Which feeds on demand may be there.
    is_closed
        Whether posts make no feed.
    """

    def __init__(
        self,
        policies: PolicyCache,
        settings: Settings,
        matcher: FeedMatcher,
        concerns: Callable[[str], bool] | None = None,
    ) -> None:
        self.settings = settings
        self.matcher = matcher
        self.feeds: dict[str, FeedRanking] = {}
        self.places = FeedPlaces(matcher.places())
        self.is_closed = False
        self.view = policies.view
        self.policies = policies
        self._concerns = concerns
        self._of_group: dict[int, tuple[str, ...]] = {}
        # How many feeds on demand there are of a pattern in a shard.
        self._beside: Counter[tuple[str | None, int]] = Counter()

    def new(self, name: str) -> FeedRanking:
        """A ranking without posts."""
        scores = self.policies.scores(self.settings, name)
        spec, running = self.matcher.spec_of(name), self.settings.running.get(name)
        if running is None:
            return FeedRanking(name, spec, scores)
        arms = arm_scores(self.policies, running)
        return ArmedFeed(name, spec, scores, running.info(), arms)

    def put(self, feed: FeedRanking) -> None:
        """Have a feed in the set, in the place of one of its name."""
        if feed.name not in self.feeds and self.matcher.is_on_demand(feed.name):
            self._beside[_kind(feed.name)] += 1
        self.feeds[feed.name] = feed

    def remove(self, name: str) -> bool:
        """Have a feed in the set no more; whether it was there."""
        if self.feeds.pop(name, None) is None:
            return False
        if self.matcher.is_on_demand(name):
            self._beside[_kind(name)] -= 1
        return True

    def lose(self, shards: AbstractSet[int]) -> list[FeedRanking]:
        """Have no feeds of these shards any more; return those that were there."""
        named, on_demand = self.matcher.named.keys(), self.on_demand()
        self.matcher.lose(shards)
        gone = {*(named - self.matcher.named.keys()), *of_shards(on_demand, shards)}
        self._beside = Counter({k: n for k, n in self._beside.items() if k[1] not in shards})
        return [self.feeds.pop(name) for name in gone & self.feeds.keys()]

    def follow(self, settings: Settings, matcher: FeedMatcher) -> None:
        """From here on these settings count, whose feeds are there already."""
        self.settings, self.matcher = settings, matcher
        self._beside = Counter(map(_kind, self.on_demand()))

    def on_demand(self) -> AbstractSet[str]:
        """The feeds on demand that are there."""
        return self.feeds.keys() - self.matcher.named.keys()

    def has_room(self, name: str) -> bool:
        """Whether a feed on demand gets a place by its first post, which makes places short."""
        return self.places.has_room(name, self._beside[_kind(name)])

    def takes(self, name: str) -> bool:
        """Whether a feed of this name may be in the set."""
        return self._concerns is None or self._concerns(name)

    def feeds_of(self, group: int) -> tuple[str, ...]:
        """The names of the feeds of this set, there or not, that take posts of a group."""
        groups = self.view.groups.values
        if self._concerns is None:
            return self.matcher.feeds_of(group, groups)
        names = self._of_group.get(group)
        if names is None:
            names = tuple(filter(self._concerns, self.matcher.feeds_of(group, groups)))
            self._of_group[group] = names
        return names

    def update(self, rows: Rows, before: Rows, groups: Rows, now_ms: int) -> Iterator[FeedRanking]:
        """Rank these rows in their feeds; yields every feed whose list changed.

        Parameters
        ----------
        rows
            Shape (n,), up to date in all decisions and scores.
        before, groups
            Shape (n,): the group of each post when it was ranked last, and now; -1 for none.
        now_ms
            Unix milliseconds.
        """
        if self.places.counts:
            self.count(rows.tolist(), groups.tolist(), now_ms)
        for name, left in self._left(before, groups).items():
            feed = self.feeds.get(name)
            if feed is not None and feed.leave(rows[left]):
                yield feed
        taken: dict[str, list[int]] = {}
        for row, group in zip(rows.tolist(), groups.tolist(), strict=True):
            for name in self.feeds_of(group) if group >= 0 else ():
                taken.setdefault(name, []).append(row)
        for name, of_feed in taken.items():
            feed = self.rank(name, np.array(of_feed, np.int32), now_ms)
            if feed is not None:
                yield feed

    def rank(self, name: str, rows: Rows, now_ms: int) -> FeedRanking | None:
        """Rank posts in a feed whose group takes them; the feed if its list changed."""
        feed = self.feeds.get(name) or self._on_demand(name, rows, now_ms)
        return feed if feed is not None and feed.update(rows, now_ms) else None

    def _left(self, before: Rows, groups: Rows) -> dict[str, list[int]]:
        """By feed the positions of posts that belonged to it and do not any more."""
        left: dict[str, list[int]] = {}
        for at in np.flatnonzero((before != groups) & (before >= 0)).tolist():
            now = self.feeds_of(int(groups[at])) if groups[at] >= 0 else ()
            for name in self.feeds_of(int(before[at])):
                if name not in now:
                    left.setdefault(name, []).append(at)
        return left

    def _on_demand(self, name: str, rows: Rows, now_ms: int) -> FeedRanking | None:
        """The feed, made if a post is shown in it for the first time and there is a place."""
        if self.is_closed or not self.matcher.is_on_demand(name) or self.places.are_short(name):
            return None
        shown = rows[self.policies.scores(self.settings, name).score.values[rows] > -np.inf]
        if not len(shown):
            return None
        # A list that begins with the first post that is shown has them all.
        made = self.new(name)
        if not made.in_window(shown, now_ms).any() or not self.has_room(name):
            return None
        self.put(made)
        return made

    # --- where places are short ---------------------------------------------------------------

    def begin_count(self, pattern: str) -> None:
        """Count the authors of a pattern's feeds from here on; all rows are to be counted."""
        feeds_of, values = self.matcher.on_demand_of, self.view.groups.values
        self.places.counts[pattern] = FeedAuthors(lambda group: feeds_of(pattern, values[group]))

    def shown_rows(self, part: slice) -> Rows:
        """The rows of a part of all rows whose posts are shown in feeds on demand, if they belong.

        All posts must be up to date in scores.
        """
        rows = np.flatnonzero(self.view.post.group[part] >= 0) + part.start
        names = own_policies(self.settings, self.matcher)
        shown = [self.policies.scores(self.settings, n).score.values[rows] > -np.inf for n in names]
        shown_rows: Rows = rows[np.logical_or.reduce(shown)].astype(np.int32)
        return shown_rows

    def count(self, rows: Sequence[int], groups: Sequence[int], now_ms: int) -> None:
        """Count the authors of these rows, up to date in scores, in the feeds that show them."""
        view = self.view
        created_ms, author = view.post.created_ms.item, view.post.author.item
        for pattern, authors in self.places.counts.items():
            authors.grow(view.capacity, view.authors.bound)
            cutoff_ms = now_ms - self.matcher.window_ms(pattern)
            for row, group in zip(rows, groups, strict=True):
                is_inside = group >= 0 and created_ms(row) >= cutoff_ms
                shown = self._shown(row, authors.feeds_of(group)) if is_inside else 0
                authors.count(row, group, author(row), shown)

    def _shown(self, row: int, names: Sequence[str]) -> int:
        """In which of these feeds a post is shown, a bit each."""
        shown, gates = 0, self.settings.gates
        for place, name in enumerate(names):
            # Weights show and hide no post.
            scores = self.policies.scores(self.settings, name if name in gates else "")
            shown |= (scores.score.values.item(row) > -np.inf) << place
        return shown

    def drop_old(self, now_ms: int) -> None:
        """Count posts no more that left the windows, some at a time."""
        for pattern, authors in self.places.counts.items():
            cutoff_ms = now_ms - self.matcher.window_ms(pattern)
            old = authors.counted_before(self.view.post.created_ms, cutoff_ms)
            for row in old[:_DROPPED_ROWS]:
                authors.count(row, -1, -1, 0)


def arm_scores(policies: PolicyCache, running: FeedExperiment) -> dict[str, FeedScores]:
    """The scores of each arm of an experiment in a feed, perhaps unfinished."""
    return {arm: policies.scores_by(policy) for arm, policy in running.arms.items()}


def own_policies(settings: Settings, matcher: FeedMatcher) -> list[str]:
    """The feeds on demand with weights or gates of their own, and "" for the others.

    Those with gates are of all shards: authors are counted in them.
    """
    own = {*settings.weights, *settings.gates}
    gated = settings.gates.keys() - settings.feeds.keys()
    named = (name for name in own if pattern_of(name) is not None)
    return ["", *(name for name in named if name in gated or matcher.may_have(name))]


def _kind(feed: str) -> tuple[str | None, int]:
    """The pattern and the shard of a feed: those of a kind share places."""
    return pattern_of(feed), shard_of(feed)
