"""The feeds under one state of the settings, and what a changed post changes in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from feedmill.events.experiment import FeedExperiment
from feedmill.events.feeds import FEED_PATTERNS, pattern_of
from feedmill.events.gates import GatePolicy
from feedmill.events.partition import of_shards, shard_of
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.columns import NO_POST, Flags, Rows
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_places import FeedAuthors, FeedPlaces
from feedmill.rankers.combiner.feed_ranking import ArmedFeed, FeedRanking
from feedmill.rankers.combiner.feed_scores import FeedScores, PolicyCache
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.ranked_list import Positions, runs
from feedmill.rankers.combiner.view import PostView

# To count so many posts that leave the window takes some milliseconds.
_DROPPED_ROWS = 1024
# Rows that are scored at once, and rows whose feeds are ranked together: with more of them each
# feed has more to do at once, which numpy does better.
_SCORED_ROWS = 8192
_RANKED_ROWS = 8 * _SCORED_ROWS
_FILLED_ROWS = 64
_MADE_FEEDS = 32
_COUNTED_ROWS = 512
_ASKED_GROUPS = 256
_GROUPS_AT_ONCE = 512
_LOOKED_AT_GROUPS = 2048
# So few feeds each look for their posts, instead of each group of posts for its feeds.
_FEW_FEEDS = 8


class FeedSet:
    """Feeds by name, each with its ranking, under one state of the settings.

    Parameters
    ----------
    concerns
        Which feeds, by name, may be in the set; the answer never changes.

    Attributes
    ----------
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
        """Return a ranking without posts."""
        scores = self.policies.scores(self.settings, name)
        spec, running = self.matcher.spec_of(name), self.settings.running.get(name)
        if running is None:
            return FeedRanking(name, spec, scores)
        arms = arm_scores(self.policies, running)
        return ArmedFeed(name, spec, scores, running.info(), arms)

    def put(self, feed: FeedRanking) -> None:
        """Put a feed into the set, in the place of the feed of its name."""
        if feed.name not in self.feeds and self.matcher.is_on_demand(feed.name):
            self._beside[_kind(feed.name)] += 1
        self.feeds[feed.name] = feed

    def remove(self, name: str) -> bool:
        """Remove a feed from the set; return whether it was there."""
        if self.feeds.pop(name, None) is None:
            return False
        if self.matcher.is_on_demand(name):
            self._beside[_kind(name)] -= 1
        return True

    def lose(self, shards: AbstractSet[int]) -> list[FeedRanking]:
        """Remove the feeds of these shards; return those that were there."""
        named, on_demand = self.matcher.named.keys(), self.on_demand()
        self.matcher.lose(shards)
        gone = {*(named - self.matcher.named.keys()), *of_shards(on_demand, shards)}
        self._beside = Counter({k: n for k, n in self._beside.items() if k[1] not in shards})
        return [self.feeds.pop(name) for name in gone & self.feeds.keys()]

    def change_settings(self, settings: Settings, matcher: FeedMatcher) -> None:
        """Go on under other settings, whose feeds are there already."""
        self.settings, self.matcher = settings, matcher
        self._beside = Counter(map(_kind, self.on_demand()))

    def on_demand(self) -> AbstractSet[str]:
        """The feeds on demand that are there."""
        return self.feeds.keys() - self.matcher.named.keys()

    def has_room(self, name: str) -> bool:
        """Whether a feed on demand gets a place by its first post; if not, places are short."""
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
        """Rank these rows, whose decisions and scores are up to date; yield each feed that changed.

        `before` and `groups` are the group of each post when it was ranked last, and now; -1 for
        none. All have shape (n,).
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
        """Rank posts of a group that a feed takes; return the feed if its list changed."""
        feed = self.feeds.get(name) or self._on_demand(name, rows, now_ms)
        return feed if feed is not None and feed.update(rows, now_ms) else None

    def _left(self, before: Rows, groups: Rows) -> dict[str, list[int]]:
        """By feed the positions of posts that were in the feed and are not any more."""
        left: dict[str, list[int]] = {}
        for at in np.flatnonzero((before != groups) & (before >= 0)).tolist():
            now = self.feeds_of(int(groups[at])) if groups[at] >= 0 else ()
            for name in self.feeds_of(int(before[at])):
                if name not in now:
                    left.setdefault(name, []).append(at)
        return left

    def _on_demand(self, name: str, rows: Rows, now_ms: int) -> FeedRanking | None:
        """Return the feed, made if a post is shown in it and there is a place; else None."""
        if self.is_closed or not self.matcher.is_on_demand(name) or self.places.are_short(name):
            return None
        shown = rows[self.policies.scores(self.settings, name).score.values[rows] > -np.inf]
        if not len(shown):
            return None
        # A list that begins with the first post that is shown has all shown posts.
        made = self.new(name)
        if not made.in_window(shown, now_ms).any() or not self.has_room(name):
            return None
        self.put(made)
        return made

    # --- where places are short ---------------------------------------------------------------

    def begin_count(self, pattern: str) -> None:
        """Count the authors of a pattern's feeds from here on; the caller counts all rows."""
        feeds_of, values = self.matcher.on_demand_of, self.view.groups.values
        self.places.counts[pattern] = FeedAuthors(lambda group: feeds_of(pattern, values[group]))

    def shown_rows(self, part: slice) -> Rows:
        """The rows of a part, up to date in scores, whose posts some feed on demand may show."""
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
        """In which of these feeds a post is shown, as a bit for each feed."""
        shown, gates = 0, self.settings.gates
        for place, name in enumerate(names):
            # Only gates show and hide posts, not weights.
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
    """The feeds on demand with weights or gates of their own, and "" for all other feeds.

    Feeds with gates of their own are of all shards, because their authors are counted.
    """
    own = {*settings.weights, *settings.gates}
    gated = settings.gates.keys() - settings.feeds.keys()
    named = (name for name in own if pattern_of(name) is not None)
    return ["", *(name for name in named if name in gated or matcher.may_have(name))]


def _kind(feed: str) -> tuple[str | None, int]:
    """The pattern and the shard of a feed: feeds that have both in common share places."""
    return pattern_of(feed), shard_of(feed)


class FeedBuild:
    """Goes over all posts once, and fills new decisions, scores and rankings.

    Posts that change meanwhile are given to `next`, whether they were passed or not.  Posts make
    feeds on demand in `next` unless it is closed; the feeds of `names` are made without posts, too.

    Attributes
    ----------
    next
        The new rankings, complete once `work` returned False.
    """

    def __init__(self, feeds: FeedSet, names: Iterable[str]) -> None:
        self.next = feeds
        self._view, self._policies = feeds.view, feeds.policies
        self._now_ms = 0
        self._parts = self._run(tuple(names))

    def work(self, now_ms: int) -> bool:
        """Do a part that takes about a millisecond; return whether there is more."""
        self._now_ms = now_ms
        return next(self._parts, self) is not self

    @property
    def is_begun(self) -> bool:
        """Whether posts that change must be given to `next`, which has no feed before."""
        return self.next.matcher.is_prepared

    def _run(self, names: Sequence[str]) -> Iterator[None]:
        while self.next.matcher.prepare():
            yield
        for start in range(0, len(names), _MADE_FEEDS):
            for name in names[start : start + _MADE_FEEDS]:
                self.next.put(self.next.new(name))
            yield
        for first in range(0, self._view.capacity, _SCORED_ROWS):
            part = slice(first, first + _SCORED_ROWS)
            self._policies.fill(part, self._now_ms)
            yield
            yield from self._fill_overridden(part)
        if not self.next.is_closed:
            yield from self._give_places()
        is_few = self.next.is_closed and len(names) <= _FEW_FEEDS
        taken = (yield from self._groups_taken(names)) if is_few else {}
        for start in range(0, self._view.capacity, _RANKED_ROWS):
            end = min(start + _RANKED_ROWS, self._view.capacity)
            if is_few:
                yield from self._rank_few(taken, slice(start, end))
            else:
                yield from self._rank(start, end)
        self._policies.finish()

    def _fill_overridden(self, part: slice) -> Iterator[None]:
        view = self._view
        if not len(view.overrides):
            return
        is_overridden = view.overridden.among(part, view.post.author)
        is_overridden &= view.post.offset[part] != NO_POST
        overridden = (np.flatnonzero(is_overridden) + part.start).astype(np.int32)
        for start in range(0, len(overridden), _FILLED_ROWS):
            self._policies.fill(overridden[start : start + _FILLED_ROWS], self._now_ms)
            yield

    def _give_places(self) -> Iterator[None]:
        """Count the authors of the feeds on demand where there could be more feeds than places."""
        made = self.next
        found: dict[str, set[str]] = {}
        yield from self._find(found)
        for pattern, names in found.items():
            if made.places.would_be_short(pattern, names):
                made.begin_count(pattern)
        if not made.places.counts:
            return
        post = self._view.post
        for start in range(0, self._view.capacity, _COUNTED_ROWS):
            rows = made.shown_rows(slice(start, start + _COUNTED_ROWS))
            made.count(rows.tolist(), post.group[rows].tolist(), self._now_ms)
            yield
        for name in (yield from made.places.give(made.matcher.shards)):
            if made.takes(name) and name not in made.feeds:
                made.put(made.new(name))
        yield

    def _find(self, found: dict[str, set[str]]) -> Iterator[None]:
        groups, made = self._view.groups.values, self.next
        is_shown = np.zeros(len(groups), bool)
        for start in range(0, self._view.capacity, _RANKED_ROWS):
            rows = made.shown_rows(slice(start, start + _RANKED_ROWS))
            numbers = self._view.post.group[rows]
            # A group that is newer is of a post that changed, which `next` was given.
            is_shown[numbers[numbers < len(is_shown)]] = True
            yield
        for count, number in enumerate(np.flatnonzero(is_shown).tolist(), 1):
            for pattern in FEED_PATTERNS:
                names = made.matcher.on_demand_of(pattern, groups[number])
                found.setdefault(pattern, set()).update(names)
            if count % _ASKED_GROUPS == 0:
                yield

    def _rank(self, start: int, end: int) -> Iterator[None]:
        post = self._view.post
        rows = (np.flatnonzero(post.offset[start:end] != NO_POST) + start).astype(np.int32)
        groups = post.group[rows]
        of_feeds = yield from by_feed(self.next.feeds_of, groups)
        for name, parts in of_feeds.items():
            of_feed, at_once = np.concatenate(parts), self._at_once(name)
            for first in range(0, len(of_feed), at_once):
                positions = of_feed[first : first + at_once]
                # Posts that changed their group since the slice began were given to `next` then.
                same = post.group[rows[positions]] == groups[positions]
                self.next.rank(name, rows[positions[same]], self._now_ms)
                yield

    def _at_once(self, name: str) -> int:
        feed = self.next.feeds.get(name)
        if feed is None:
            return _RANKED_ROWS
        # Without a floor each post enters the list, and all may be of one author.
        has_floor = feed.list.floor_score > -np.inf
        return _RANKED_ROWS // len(feed.all_scores) // (1 if has_floor else 4)

    def _groups_taken(self, names: Sequence[str]) -> Generator[None, None, dict[str, Flags]]:
        """For each of a few feeds, by group number, whether it takes the group; -1 is the last."""
        made, groups = self.next, self._view.groups.values
        taken: dict[str, Flags] = {}
        for name in names:
            takes: list[bool] = []
            while len(takes) < len(groups):
                start = len(takes)
                numbered = enumerate(groups[start : start + _LOOKED_AT_GROUPS], start)
                takes += [
                    group is not None and name in made.feeds_of(number)
                    for number, group in numbered
                ]
                yield
            taken[name] = np.array([*takes, False])
        return taken

    def _rank_few(self, taken: Mapping[str, Flags], part: slice) -> Iterator[None]:
        """As `_rank`, where each of a few feeds looks for its posts."""
        for name, takes in taken.items():
            at_once = self._at_once(name)
            for first in range(part.start, part.stop, at_once):
                groups = self._view.post.group[first : min(first + at_once, part.stop)]
                # A group that is newer is of a post that changed, which `next` was given.
                is_taken = takes[np.minimum(groups, len(takes) - 1)]
                rows = (np.flatnonzero(is_taken) + first).astype(np.int32)
                self.next.rank(name, rows, self._now_ms)
                yield


def by_feed(
    feeds_of: Callable[[int], tuple[str, ...]], groups: Rows
) -> Generator[None, None, dict[str, list[Positions]]]:
    """By feed the positions of the groups that it takes, in parts; -1 stands for no group.

    Yields every millisecond or so.
    """
    # numpy sorts numbers of 16 bits by radix, in a fifth of the time.
    is_short = len(groups) > 0 and groups.max() <= np.iinfo(np.int16).max
    order = np.argsort(groups.astype(np.int16) if is_short else groups, kind="stable")
    yield
    ordered = groups[order]
    starts, ends = runs(ordered)
    found: dict[str, list[Positions]] = {}
    of_runs = zip(ordered[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)
    for count, (group, start, end) in enumerate(of_runs, 1):
        if count % _GROUPS_AT_ONCE == 0:
            yield
        if group >= 0:
            positions = order[start:end]
            for name in feeds_of(group):
                found.setdefault(name, []).append(positions)
    return found


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
