"""The guard on the hide rate: where a filter would hide too much of a source, it demotes instead.

A filter that hides one ordinary post in a hundred in one place may hide one in ten in another.  If
it would hide more than a limit of the posts of a community, a language or a linked domain, it
should demote there until somebody has looked.  Its flagged posts must be of many authors: else
spam would bring a community of its own.  An author over the limit is reported, and spared nothing:
only a machine posts so much.  Copies of one text are hidden all the same: near copies raise their
values afterwards.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.hosts import hosts_of, registered_domain
from feedmill.features.post_batch import PostBatch
from feedmill.filters.rules import float32_below

Integers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

WINDOW_RECORDS = 5000
WINDOW_MS = 60 * 60 * 1000
# Of the records: 200 posts of 20,000 ASCII letters, fewer where JSON escapes them or they take more
# bytes.  A restart scores all that are in the window again.
WINDOW_BYTES = 4 * 1024 * 1024
# A place has room for so many sources; what a post has beyond is kept beside the ring.
_COLUMNS = 4
_PADDING = (0,) * _COLUMNS
_ROW = Struct(f"{_COLUMNS}q")

# A rate of fewer posts means little; of 200 with a true rate of 1 %, 8 % never would be hidden.
LEAST_POSTS = 200
# Flagged posts of fewer authors may all be spam.
LEAST_AUTHORS = 20
_MAX_HOSTS = 8
_AUTHOR = "author:"
# Fewer posts are quicker one by one.
_MANY_FROM = 24
# The reasons of values that were lowered begin so.
CAPPED = "capped: "


class SourceBatch:
    """The sources of n posts.

    Attributes
    ----------
    names
        By post the names of its sources, in their order.
    hashes
        The hash of each name, never 0.
    """

    def __init__(self, names: Sequence[tuple[str, ...]]) -> None:
        self.names = names
        self.hashes = [tuple([hash(name) or 1 for name in of_post]) for of_post in names]

    @cached_property
    def columns(self) -> Integers:
        """The first hashes of each post: (n, 4) int64, 0 where there are fewer."""
        rows = [(of_post + _PADDING)[:_COLUMNS] for of_post in self.hashes]
        return np.array(rows, dtype=np.int64).reshape(-1, _COLUMNS)


class SourceWindow:
    """The last posts, oldest first: a ring of `WINDOW_RECORDS` places, 320 kB from the start.

    Attributes
    ----------
    at_ms
        The time of the last post: its record's timestamp, or the time of the post before if that is
        later, by less than `WINDOW_MS`.  A timestamp further back is one of a clock that was set.
    size
        The bytes of all posts so far, those that left too.
    """

    def __init__(self) -> None:
        self.at_ms = self.size = 0
        self._offsets = array("q", bytes(8 * WINDOW_RECORDS))
        self._at_ms = array("q", bytes(8 * WINDOW_RECORDS))
        # Of all posts up to this one.
        self._sizes = array("q", bytes(8 * WINDOW_RECORDS))
        self._values = array("d", bytes(8 * WINDOW_RECORDS))
        self._hashes = array("q", bytes(8 * WINDOW_RECORDS * _COLUMNS))
        # The same memory: plain Python is quicker with one post, numpy with many.
        self._offset_column = np.frombuffer(self._offsets, dtype=np.int64)
        self._at_ms_column = np.frombuffer(self._at_ms, dtype=np.int64)
        self._size_column = np.frombuffer(self._sizes, dtype=np.int64)
        self._value_column = np.frombuffer(self._values, dtype=np.float64)
        self._hash_columns = np.frombuffer(self._hashes, dtype=np.int64).reshape(-1, _COLUMNS)
        self._beyond: dict[int, tuple[int, ...]] = {}
        self._first = self._count = 0

    def leaving(self, offset: int, at_ms: int, size: int, coming: int) -> int:
        """How many posts leave: older by a bound of the window, or their place is taken.

        `offset` and `at_ms` are those of the last of the posts that are `coming`, `size` is that of
        all of them.
        """
        offset -= WINDOW_RECORDS
        at_ms = time_after(self.at_ms, at_ms) - WINDOW_MS
        size += self.size - WINDOW_BYTES
        leaving = max(0, self._count + coming - WINDOW_RECORDS)
        while leaving < self._count:
            place = (self._first + leaving) % WINDOW_RECORDS
            is_late = self._offsets[place] > offset and self._at_ms[place] > at_ms
            if is_late and self._sizes[place] > size:
                break
            leaving += 1
        return leaving

    def pop_first(self) -> tuple[float, tuple[int, ...]]:
        """Take the oldest post out: its value, and the hashes of its sources."""
        place = self._first
        found = self._values[place], self._sources_at(place)
        self._beyond.pop(place, None)
        self._first, self._count = (place + 1) % WINDOW_RECORDS, self._count - 1
        return found

    def drop_first(self, count: int) -> None:
        """Drop the oldest posts."""
        if self._beyond:
            for place in self._places(count).tolist():
                self._beyond.pop(place, None)
        self._first = (self._first + count) % WINDOW_RECORDS
        self._count -= count

    def append(
        self, offset: int, at_ms: int, size: int, value: float, hashes: tuple[int, ...]
    ) -> None:
        """Take a post after the last; there is a place for it after those that leave are out."""
        place = (self._first + self._count) % WINDOW_RECORDS
        before_ms, self.at_ms = self.at_ms, time_after(self.at_ms, at_ms)
        if self.at_ms < before_ms:
            np.minimum(self._at_ms_column, self.at_ms, out=self._at_ms_column)
        self.size += size
        self._offsets[place], self._at_ms[place] = offset, self.at_ms
        self._sizes[place], self._values[place] = self.size, value
        _ROW.pack_into(self._hashes, _ROW.size * place, *(hashes + _PADDING)[:_COLUMNS])
        if len(hashes) > _COLUMNS:
            self._beyond[place] = hashes[_COLUMNS:]
        self._count += 1

    def extend(
        self,
        offsets: Integers,
        at_ms: Integers,
        sizes: Integers,
        values: Values,
        hashes: Sequence[tuple[int, ...]],
        hash_columns: Integers,
    ) -> None:
        """Take n posts after the last; as `append`, with the first hashes as (n, 4), too.

        No time may go back by `WINDOW_MS`.
        """
        end = self._first + self._count
        places = np.arange(end, end + len(values)) % WINDOW_RECORDS
        latest = np.maximum(np.maximum.accumulate(at_ms), self.at_ms)
        self._offset_column[places], self._at_ms_column[places] = offsets, latest
        self._size_column[places] = self.size + sizes.cumsum()
        self._value_column[places], self._hash_columns[places] = values, hash_columns
        for row, of_post in enumerate(hashes):
            if len(of_post) > _COLUMNS:
                self._beyond[int(places[row])] = of_post[_COLUMNS:]
        self.at_ms = int(latest[-1])
        self.size += int(sizes.sum())
        self._count += len(values)

    def count(self, source: int, oldest: int | None = None) -> int:
        """How many posts have a source, by its hash; of all or of the oldest."""
        places = self._places(oldest)
        found = int((self._hash_columns[places] == source).sum())
        if not self._beyond:
            return found
        return found + sum(source in self._beyond.get(place, ()) for place in places.tolist())

    def first_sources(self, source: int, value: float) -> Counter[int]:
        """Count by their first source the posts that have a source, and this value or more."""
        places = self._places(None)
        places = places[self._value_column[places] >= value]
        has_source = (self._hash_columns[places] == source).any(axis=1)
        if self._beyond:
            has_source |= [source in self._beyond.get(place, ()) for place in places.tolist()]
        return Counter(self._hash_columns[places[has_source], 0].tolist())

    def from_value(self, value: float, oldest: int | None = None) -> Iterator[tuple[int, ...]]:
        """The sources of each post with this value or more, of all or of the oldest."""
        places = self._places(oldest)
        for place in places[self._value_column[places] >= value].tolist():
            yield self._sources_at(place)

    def _sources_at(self, place: int) -> tuple[int, ...]:
        at = _COLUMNS * place
        known = tuple([source for source in self._hashes[at : at + _COLUMNS] if source])
        return known + self._beyond.get(place, ())

    def _places(self, oldest: int | None) -> Integers:
        count = self._count if oldest is None else oldest
        return np.arange(self._first, self._first + count) % WINDOW_RECORDS


def time_after(before_ms: int, at_ms: int) -> int:
    """Return the time of a post behind one of a time, by its record's timestamp."""
    return max(before_ms, at_ms) if before_ms - at_ms < WINDOW_MS else at_ms


def sources_of(post: Post) -> tuple[str, ...]:
    """The sources of a post: `author:<id>`, `community:<name>`, `lang:<name>`, `host:<domain>`.

    The author comes first.  The domains are those that somebody registered, of at most 8 hosts.
    """
    sources = [_AUTHOR + post.author_id]
    sources += [f"community:{name}" for name in post.communities or ()]
    if post.lang is not None:
        sources.append(f"lang:{post.lang}")
    sources += [f"host:{registered_domain(host)}" for host in hosts_of(post)[:_MAX_HOSTS]]
    return tuple(dict.fromkeys(sources))


def sources_of_all(batch: PostBatch) -> SourceBatch:
    """The sources of n posts."""
    return SourceBatch([sources_of(post) for post in batch.posts])


class JudgedPosts(NamedTuple):
    """n posts of a partition in the order of their offsets, with the values a model gave them.

    `at_ms` are the records' timestamps, `sizes` their bytes, `rows` where the posts stand in
    `sources`: as long as the other lists.  They are plain numbers, since most cycles have few
    posts.
    """

    offsets: Sequence[int]
    at_ms: Sequence[int]
    sizes: Sequence[int]
    values: Sequence[float]
    sources: SourceBatch
    rows: Sequence[int]


class OverLimit(NamedTuple):
    """A post, by its row, one of whose sources had too much flagged before it.

    The first such source, the author only where no other is, and its rate once the post counts.
    """

    row: int
    source: str
    rate: float

    @property
    def is_spared(self) -> bool:
        """Whether the filter is more likely wrong than right there."""
        return not self.source.startswith(_AUTHOR)


class HideRates:
    """The hide rates of one partition's sources, over its last posts.

    These are `WINDOW_RECORDS`, of at most `WINDOW_MS` and, the coming one too, `WINDOW_BYTES`.
    It folds posts in the order of offsets.  What it returns for a post depends only on the posts in
    the window before it, so that a fold begun with the first of them returns the same.
    Few sources have enough flagged posts to be over the limit: the posts of these alone are
    counted, once by a look at the window, then as they come and go.

    Parameters
    ----------
    flagged_at
        The value from which on a post would be hidden: it counts as flagged.
    max_rate
        The largest fraction of a source's posts that may be flagged.
    """

    def __init__(self, flagged_at: float, max_rate: float) -> None:
        self._flagged_at, self._max_rate = flagged_at, max_rate
        self._window = SourceWindow()
        # By hash of the source: its flagged posts; and all its posts, where that may matter.
        self._flagged: Counter[int] = Counter()
        self._posts: dict[int, int] = {}
        # Of the same sources how many flagged posts each author has.
        self._authors: dict[int, Counter[int]] = {}

    def set_flagged_at(self, flagged_at: float) -> None:
        """Count posts as flagged from another value on, those in the window too."""
        if flagged_at == self._flagged_at:
            return
        self._flagged_at = flagged_at
        self._flagged, self._posts, self._authors = Counter(), {}, {}
        for sources in self._window.from_value(flagged_at):
            self._flagged.update(sources)
        self._watch(self._flagged)

    def fold(self, posts: JudgedPosts) -> list[OverLimit]:
        """Fold the next posts in; return those with a source that was over the limit before."""
        if len(posts.values) >= _MANY_FROM and self._fold_at_once(posts):
            return []
        columns = zip(
            posts.offsets, posts.at_ms, posts.sizes, posts.values, posts.rows, strict=True
        )
        found, names, hashes = [], posts.sources.names, posts.sources.hashes
        for at, (offset, at_ms, size, value, row) in enumerate(columns):
            place = self._fold_one(offset, at_ms, size, value, hashes[row])
            if place is not None:
                source = names[row][place]
                found.append(OverLimit(at, source, self.rate(source)))
        return found

    def is_over(self, source: str, part: float = 1.0) -> bool:
        """Whether a source's rate is above the limit, or above this part of it."""
        posts, flagged = self._counts(source)
        is_over = posts >= LEAST_POSTS and flagged > part * self._max_rate * posts
        return is_over and (source.startswith(_AUTHOR) or self._has_many_authors(hash(source) or 1))

    def rate(self, source: str) -> float:
        """The fraction of a source's posts that are flagged."""
        posts, flagged = self._counts(source)
        return flagged / max(posts, 1)

    def _counts(self, name: str) -> tuple[int, int]:
        source = hash(name) or 1
        posts = self._posts.get(source)
        return self._window.count(source) if posts is None else posts, self._flagged[source]

    def _fold_at_once(self, posts: JudgedPosts) -> bool:
        """Fold posts in where no source can be over the limit before any of them; whether so."""
        window, hashes = self._window, [posts.sources.hashes[row] for row in posts.rows]
        offsets, at_ms = np.array(posts.offsets, np.int64), np.array(posts.at_ms, np.int64)
        sizes, values = np.array(posts.sizes, np.int64), np.array(posts.values, np.float64)
        end, end_ms = posts.offsets[-1], max(*posts.at_ms, window.at_ms)
        size = int(sizes.sum())
        is_long = end - posts.offsets[0] >= WINDOW_RECORDS or end_ms - min(posts.at_ms) >= WINDOW_MS
        if is_long or size >= WINDOW_BYTES:
            return False  # Some would leave before the last one comes.
        coming = Counter[int]()
        flagged = [hashes[row] for row in np.flatnonzero(values >= self._flagged_at).tolist()]
        for of_post in flagged:
            coming.update(of_post)
        self._watch({source: self._flagged[source] + n for source, n in coming.items()})
        leaving = window.leaving(end, end_ms, size, len(hashes))
        left = {source: n - window.count(source, leaving) for source, n in self._posts.items()}
        for source, fewest in left.items():
            most = self._flagged[source] + coming[source]
            if most > self._max_rate * max(fewest, LEAST_POSTS):
                return False
        for of_post in flagged:
            self._add(of_post)
        for sources in window.from_value(self._flagged_at, leaving):
            self._subtract(sources)
        window.drop_first(leaving)
        window.extend(offsets, at_ms, sizes, values, hashes, posts.sources.columns[posts.rows])
        for source in self._posts:
            self._posts[source] = left[source] + sum(source in of_post for of_post in hashes)
        return True

    def _fold_one(
        self, offset: int, at_ms: int, size: int, value: float, hashes: tuple[int, ...]
    ) -> int | None:
        """Fold a post in; return which of its sources was over the limit, if one was."""
        window, posts, flagged = self._window, self._posts, self._flagged
        for _ in range(window.leaving(offset, at_ms, size, 1)):
            earlier, sources = window.pop_first()
            if earlier >= self._flagged_at:
                self._subtract(sources)
            if posts:
                for source in posts.keys() & set(sources):
                    posts[source] -= 1
        over = None
        for place, source in enumerate(hashes):
            count = posts.get(source)
            if count is None:
                continue
            if not over and count >= LEAST_POSTS and flagged[source] > self._max_rate * count:
                # At place 0 stands the author.
                over = place if not place or self._has_many_authors(source) else over
            posts[source] = count + 1
        window.append(offset, at_ms, size, value, hashes)
        if value >= self._flagged_at:
            self._add(hashes)
            self._watch({source: flagged[source] for source in hashes})
        return over

    def _watch(self, flagged: Mapping[int, int]) -> None:
        """Count the posts of those sources that have, or will have, many flagged ones."""
        for source, count in flagged.items():
            if count > self._max_rate * LEAST_POSTS and source not in self._posts:
                self._posts[source] = self._window.count(source)
                self._authors[source] = self._window.first_sources(source, self._flagged_at)

    def _has_many_authors(self, source: int) -> bool:
        return len(self._authors.get(source, ())) >= LEAST_AUTHORS

    def _add(self, sources: Sequence[int]) -> None:
        self._flagged.update(sources)
        for source in self._authors.keys() & set(sources):
            self._authors[source][sources[0]] += 1

    def _subtract(self, sources: Sequence[int]) -> None:
        for source in sources:
            self._flagged[source] -= 1
            authors = self._authors.get(source)
            if authors is not None:
                authors.subtract(sources[:1])
                if authors[sources[0]] <= 0:
                    del authors[sources[0]]
            if self._flagged[source] <= self._max_rate * LEAST_POSTS:
                self._posts.pop(source, None)
                self._authors.pop(source, None)
            if not self._flagged[source]:
                del self._flagged[source]


class HideLimit(NamedTuple):
    """The least value that hides a post in some feed, and the value it becomes under the guard."""

    hide_at: float
    lowered: float


def hide_limit(settings: Settings, name: str) -> HideLimit | None:
    """The limit of a filter's gate under all policies in force; None if it hides in no feed.

    `lowered` is the highest value below every feed's `hide_at`; but it is at least the general
    `demote_at`, even where some feed hides from there on.
    """
    general = settings.gates_of("")[name]
    policies = (general, *(settings.gates_of(feed)[name] for feed in settings.gates if feed))
    hide_at = min((g.hide_at for g in policies if g.hide_at is not None), default=None)
    if hide_at is None:
        return None
    lowered = float32_below(hide_at)
    demote_at = general.demote_at
    if demote_at is not None and general.hide_at is not None and demote_at < general.hide_at:
        lowered = max(lowered, _least_float32(demote_at))
    return HideLimit(hide_at, lowered)


def _least_float32(threshold: float) -> float:
    """The least float32 that is not below a threshold."""
    at = np.float32(threshold)
    return float(at if float(at) >= threshold else np.nextafter(at, np.float32(1)))
