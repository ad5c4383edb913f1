"""New rankings for some feeds, made in slices over all posts while the old ones go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

import numpy as np

from feedmill.events.feeds import FEED_PATTERNS
from feedmill.rankers.combiner.columns import NO_POST, Flags, Rows
from feedmill.rankers.combiner.feed_set import FeedSet
from feedmill.rankers.combiner.positions import Positions, runs

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


class FeedBuild:
    """Goes over all posts once, and fills new decisions, scores and rankings.

    Posts that change meanwhile are given to `next`, whether they were passed or not.

    Attributes
    ----------
    next
        The new rankings, complete once `work` returned False.

    Parameters
    ----------
    feeds
        The set that takes the new rankings; unless it is closed, posts may make feeds on demand.
    names
        The feeds that are made whether they have posts or not.
    """

    def __init__(self, feeds: FeedSet, names: Iterable[str]) -> None:
        self.next = feeds
        self._view, self._policies = feeds.view, feeds.policies
        self._now_ms = 0
        self._parts = self._run(tuple(names))

    def work(self, now_ms: int) -> bool:
        """Do a part that takes about a millisecond; whether there is more."""
        self._now_ms = now_ms
        return next(self._parts, self) is not self

    @property
    def is_begun(self) -> bool:
        """Whether posts that change must be given to `next`: before, it has none."""
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
        """Decide and score posts with overrides in a part of all rows, one by one."""
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
        """Count the authors of the feeds on demand where these could be more than places."""
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
        """Find all feeds on demand, by pattern, in which a post may be shown."""
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
        """Rank the posts of some rows in their feeds."""
        post = self._view.post
        rows = (np.flatnonzero(post.offset[start:end] != NO_POST) + start).astype(np.int32)
        groups = post.group[rows]
        of_feeds = yield from by_feed(self.next.feeds_of, groups)
        for name, parts in of_feeds.items():
            of_feed, at_once = np.concatenate(parts), self._at_once(name)
            for first in range(0, len(of_feed), at_once):
                positions = of_feed[first : first + at_once]
                # Posts that became others since the slice began were given to `next` then.
                same = post.group[rows[positions]] == groups[positions]
                self.next.rank(name, rows[positions[same]], self._now_ms)
                yield

    def _at_once(self, name: str) -> int:
        """How many posts of a feed are ranked together."""
        feed = self.next.feeds.get(name)
        if feed is None:
            return _RANKED_ROWS
        # Without a floor each of them enters the list, and all may be of one author.
        has_floor = feed.list.floor_score > -np.inf
        return _RANKED_ROWS // len(feed.all_scores) // (1 if has_floor else 4)

    def _groups_taken(self, names: Sequence[str]) -> Generator[None, None, dict[str, Flags]]:
        """For each of a few feeds which groups it takes, by number; the last one is that of -1."""
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
