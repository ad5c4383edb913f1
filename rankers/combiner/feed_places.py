"""Which feeds on demand exist where more could than `max_feeds` allows: those of most authors."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feedmill.events.feeds import pattern_of
from feedmill.events.partition import ALL_SHARDS, shard_of
from feedmill.tables.extendible_hash import HASH_BITS, ExtendibleHash
from feedmill.tables.mapped_column import MappedColumn, in_chunks

Feeds = npt.NDArray[Any]

# Counting ends when the feeds need less than this part of the limit: not on and off at every post.
_PLENTY: Final = 0.9
# What an author shares out among feeds: a number with every divisor up to 16.
SHARED_BY_AUTHOR = 720_720
_HASH = (1 << HASH_BITS) - 1
_PAIRS_AT_ONCE = 1 << 17
# A level takes the bits above the hash of a name, which orders feeds of one level.
_LEVEL_SHIFT = np.uint64(58)
_HIGHEST_LEVEL = 63


class FeedPlaces:
    """The places of each pattern, so many in each shard: all feeds have one until they are short.

    Then the authors of each feed are counted, and those feeds have places that `FeedAuthors.placed`
    puts first in their shard.

    Attributes
    ----------
    counts
        By pattern whose places are short, the authors of its feeds.
    uncounted
        Patterns whose places became short: their authors are to be counted.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.counts: dict[str, FeedAuthors] = {}
        self.uncounted: set[str] = set()
        self._limits = limits
        self._placed: dict[str, set[str]] = {}
        self._refused = 0

    @property
    def refused(self) -> int:
        """How many feeds had no place for the first time since their authors are counted."""
        return self._refused + sum(authors.refused for authors in self.counts.values())

    @property
    def waiting(self) -> dict[str, int]:
        """By pattern how many feeds with a shown post have no place."""
        none = dict.fromkeys(self._limits, 0)
        return none | {pattern: authors.waiting for pattern, authors in self.counts.items()}

    def would_be_short(self, pattern: str, feeds: Iterable[str]) -> bool:
        """Whether some of these feeds of a pattern would have no place."""
        by_shard = Counter(map(shard_of, feeds))
        return max(by_shard.values(), default=0) > self._limits[pattern]

    def are_short(self, feed: str) -> bool:
        """Whether a feed gets no place by its first post alone."""
        pattern = pattern_of(feed)
        return pattern in self.counts or pattern in self.uncounted

    def has_room(self, feed: str, beside: int) -> bool:
        """Whether a feed gets a place beside so many of its kind; if not, places are short."""
        pattern = pattern_of(feed) or ""
        if beside < self._limits[pattern]:
            return True
        self.uncounted.add(pattern)
        return False

    def keeps(self, feed: str) -> bool:
        """Whether a feed that exists keeps its place."""
        placed = self._placed.get(pattern_of(feed) or "")
        return placed is None or feed in placed

    def give(self, shards: AbstractSet[int]) -> Generator[None, None, set[str]]:
        """Give places anew where authors came or went; return all feeds that have one by that.

        Yields every few milliseconds.  Meanwhile nothing is forgotten.
        """
        given: set[str] = set()
        for pattern, authors in self.counts.items():
            if authors.has_moved:
                self._placed[pattern] = yield from authors.placed(self._limits[pattern], shards)
            given |= self._placed[pattern]
        return given

    def end_counts(self, feeds: Collection[str]) -> None:
        """Stop to count where there are plenty of places and these feeds are all that have one."""
        for pattern in tuple(self.counts):
            placed, authors = self._placed[pattern], self.counts[pattern]
            is_plenty = not authors.waiting and authors.fullest < _PLENTY * self._limits[pattern]
            if is_plenty and not authors.has_moved and all(name in feeds for name in placed):
                self._refused += authors.refused
                del self.counts[pattern], self._placed[pattern]

    def add_refused_of(self, before: FeedPlaces) -> None:
        """Count also what was refused under other settings before."""
        self._refused += before.refused

    def forget(self, groups: Iterable[int]) -> None:
        """Drop what is known of groups whose numbers will stand for others."""
        for authors in self.counts.values():
            authors.forget(groups)


class FeedAuthors:
    """The pairs of feed and author with a shown post, and for each row what it counts for.

    It takes some 35 bytes a pair, 12 a row of the view, and 250 a feed beside its name.

    Attributes
    ----------
    feeds_of
        As given: the feeds of the pattern, on demand, of all shards, that take posts of a group,
        in the order of the bits of `count`; for a group number always the same until `forget`.
    has_moved
        Whether some feed got or lost an author since `placed` was called.
    waiting, fullest
        How many feeds had no place then, and how many had one in the shard with most of them.
    refused
        How often a feed had none for the first time.
    """

    def __init__(self, feeds_of: Callable[[int], tuple[str, ...]]) -> None:
        self.has_moved = True
        self.waiting = self.fullest = self.refused = 0
        self.feeds_of = feeds_of
        self._feeds_of_group: dict[int, tuple[int, ...]] = {}
        # By feed its name, its order, its shard, how many groups have it, whether it was refused.
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._spare_feeds = array("i")
        self._order: MappedColumn[np.uint64] = MappedColumn(np.uint64)
        self._shard: MappedColumn[np.uint8] = MappedColumn(np.uint8)
        self._groups: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._was_refused: MappedColumn[np.bool_] = MappedColumn(np.bool_)
        # By pair its feed, its author, and how many shown posts it has, 0 where it is free.
        self._pairs = ExtendibleHash()
        self._pair_bound = 0
        self._spare_pairs = array("i")
        self._feed: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._author: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._posts: MappedColumn[np.int32] = MappedColumn(np.int32)
        # By author how many feeds.
        self._feeds_of_author: MappedColumn[np.int32] = MappedColumn(np.int32)
        # By row what was counted: in which feeds of its group the post is shown, a bit each.
        self._shown: MappedColumn[np.uint32] = MappedColumn(np.uint32)
        self._group_of: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._author_of: MappedColumn[np.int32] = MappedColumn(np.int32)

    def grow(self, rows: int, authors: int) -> None:
        """Make room for so many rows of the view, and numbers of authors."""
        for column in (self._shown, self._group_of, self._author_of):
            column.grow(rows)
        if authors > len(self._feeds_of_author):
            self._feeds_of_author.grow(in_chunks(authors))

    def count(self, row: int, group: int, author: int, shown: int) -> None:
        """Count the post of a row in those feeds of its group of which `shown` has the bits."""
        before: int = self._shown.cells[row]
        group_before, author_before = self._group_of.cells[row], self._author_of.cells[row]
        is_same = group == group_before and author == author_before
        if before == shown and (is_same or not shown):
            return
        if before:
            self._add(before, group_before, author_before, -1)
        if shown:
            self._add(shown, group, author, 1)
        self._shown.cells[row] = shown
        self._group_of.cells[row], self._author_of.cells[row] = group, author

    def counted_before(self, created_ms: npt.NDArray[np.int64], cutoff_ms: int) -> list[int]:
        """The rows that count somewhere and whose posts were created before the cutoff."""
        shown = self._shown.values
        old = (shown != 0) & (created_ms[: len(shown)] < cutoff_ms)
        rows: list[int] = np.flatnonzero(old).tolist()
        return rows

    def forget(self, groups: Iterable[int]) -> None:
        """Drop what is known of groups that no row has: their numbers will stand for others."""
        for group in groups:
            for feed in self._feeds_of_group.pop(group, ()):
                self._groups.cells[feed] -= 1
                if not self._groups.cells[feed]:
                    del self._numbers[self._names[feed]]
                    self._names[feed] = ""
                    self._spare_feeds.append(feed)

    def placed(
        self, limit: int, shards: AbstractSet[int] = ALL_SHARDS
    ) -> Generator[None, None, set[str]]:
        """Find the feeds of shards, with a shown post, that have places, `limit` in each at most.

        Those of higher levels go first: the level is how many binary digits the sum has of what
        authors share out, each the same to all feeds of any shard that show a post of theirs.
        Yields every few milliseconds, some 20 a million pairs in all; what is counted meanwhile is
        for the next call, and nothing is forgotten.
        """
        self.has_moved = False
        size = len(self._names)
        has_posts, sums = np.zeros(size, bool), np.zeros(size)
        for start in range(0, self._pair_bound, _PAIRS_AT_ONCE):
            part = slice(start, min(start + _PAIRS_AT_ONCE, self._pair_bound))
            feeds, authors = self._feed.values[part], self._author.values[part]
            is_used = (self._posts.values[part] > 0) & (feeds < size)
            feeds, authors = feeds[is_used], authors[is_used]
            has_posts[feeds] = True
            shares = SHARED_BY_AUTHOR // self._feeds_of_author.values[authors]
            sums += np.bincount(feeds, shares, size)
            yield
        has_posts &= np.isin(self._shard.values[:size], [*shards])
        contenders, placed, fullest = np.flatnonzero(has_posts), set[str](), 0
        of_each = self._shard.values[contenders]
        in_order = contenders[np.argsort(of_each, kind="stable")]
        ends = np.cumsum(np.bincount(of_each)).tolist()
        for start, end in pairwise((0, *ends)):
            of_shard: Feeds = in_order[start:end]
            if len(of_shard) > limit:
                of_shard = yield from self._first(of_shard, sums[of_shard], limit)
            placed.update([self._names[feed] for feed in of_shard.tolist()])
            fullest = max(fullest, len(of_shard))
        self.waiting, self.fullest = len(contenders) - len(placed), fullest
        return placed

    def _first(
        self, feeds: Feeds, sums: npt.NDArray[np.float64], limit: int
    ) -> Generator[None, None, Feeds]:
        """Those of these feeds of a shard, so many, whose claims are first; refuse the others."""
        levels = np.frexp(sums)[1].astype(np.uint64)
        key = (np.uint64(_HIGHEST_LEVEL) - levels) << _LEVEL_SHIFT
        key |= self._order.values[feeds]
        by_claim = np.argpartition(key, limit)
        self._refuse(feeds[by_claim[limit:]])
        yield
        return feeds[by_claim[:limit]]

    def _refuse(self, feeds: Feeds) -> None:
        was_refused = self._was_refused.values
        self.refused += int(np.count_nonzero(~was_refused[feeds]))
        was_refused[feeds] = True

    def _add(self, shown: int, group: int, author: int, posts: int) -> None:
        for place, feed in enumerate(self._numbers_of(group)):
            if shown >> place & 1:
                self._add_to(feed, author, posts)

    def _add_to(self, feed: int, author: int, posts: int) -> None:
        hashed = hash((feed, author)) & _HASH
        pair = self._pair(hashed, feed, author)
        if pair is None:
            pair = self._new_pair(feed, author)
            self._pairs.insert(hashed, pair)
            self._feeds_of_author.cells[author] += 1
            self.has_moved = True
        self._posts.cells[pair] += posts
        if not self._posts.cells[pair]:
            self._pairs.remove(hashed, pair)
            self._spare_pairs.append(pair)
            self._feeds_of_author.cells[author] -= 1
            self.has_moved = True

    def _pair(self, hashed: int, feed: int, author: int) -> int | None:
        for pair in self._pairs.find(hashed):
            if self._feed.cells[pair] == feed and self._author.cells[pair] == author:
                return pair
        return None

    def _new_pair(self, feed: int, author: int) -> int:
        if self._spare_pairs:
            pair = self._spare_pairs.pop()
        else:
            pair = self._pair_bound
            self._pair_bound += 1
            if self._pair_bound > len(self._posts):
                for column in (self._feed, self._author, self._posts):
                    column.grow(in_chunks(self._pair_bound))
        self._feed.cells[pair], self._author.cells[pair] = feed, author
        return pair

    def _numbers_of(self, group: int) -> tuple[int, ...]:
        feeds = self._feeds_of_group.get(group)
        if feeds is None:
            feeds = tuple(map(self._number, self.feeds_of(group)))
            self._feeds_of_group[group] = feeds
            for feed in feeds:
                self._groups.cells[feed] += 1
        return feeds

    def _number(self, name: str) -> int:
        feed = self._numbers.get(name)
        if feed is not None:
            return feed
        if self._spare_feeds:
            feed = self._spare_feeds.pop()
            self._names[feed] = name
        else:
            feed = len(self._names)
            self._names.append(name)
            if len(self._names) > len(self._order):
                for column in (self._order, self._shard, self._groups, self._was_refused):
                    column.grow(in_chunks(len(self._names)))
        self._numbers[name] = feed
        self._order.cells[feed] = claim_order(name)
        self._shard.cells[feed] = shard_of(name)
        self._was_refused.cells[feed] = False
        return feed


def claim_order(name: str) -> int:
    """Return what orders feeds of equal levels, lower first: the hash of the name, 58 bits."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 6
