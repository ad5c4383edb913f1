"""The guard on the hide rate: where a filter would hide too much of a source, it demotes instead.

A filter that hides one ordinary post in a hundred in one place may hide one in ten in another.  If
it would hide more than a limit of the posts of a community, a language or a linked domain, it
should demote there until somebody has looked.  Its flagged posts must be of many authors: else
spam would bring a community of its own.  An author over the limit is reported, and spared nothing:
only a machine posts so much.  Copies of one text are hidden all the same: near copies raise their
values afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.hosts import hosts_of, registered_domain
from feedmill.features.post_batch import PostBatch
from feedmill.filters.source_window import (
    WINDOW_BYTES,
    WINDOW_MS,
    WINDOW_RECORDS,
    SourceBatch,
    SourceWindow,
)
from feedmill.filters.verdicts import float32_below

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


class ScoredPosts(NamedTuple):
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

    def fold(self, posts: ScoredPosts) -> list[OverLimit]:
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

    def _fold_at_once(self, posts: ScoredPosts) -> bool:
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
            earlier, sources = window.take_first()
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
        """A flagged post comes into the window."""
        self._flagged.update(sources)
        for source in self._authors.keys() & set(sources):
            self._authors[source][sources[0]] += 1

    def _subtract(self, sources: Sequence[int]) -> None:
        """A flagged post leaves the window."""
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
