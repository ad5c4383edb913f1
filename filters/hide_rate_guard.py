"""The guard on the hide rate: where a filter would hide too much of a source, it demotes instead.

A filter that hides one ordinary post in a hundred in one place may hide one in ten in another.  If
it would hide more than a limit of the posts of a community, a language, an author (a page is one)
or a linked domain, it should demote there until somebody has looked.  Copies of one text are hidden
all the same: `campaign` raises their values afterwards.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.hosts import hosts_of, registered_domain

# The rates are of one partition's last records, and of no longer than this.
WINDOW_RECORDS = 5000
WINDOW_MS = 60 * 60 * 1000
# A rate of fewer posts means little; of 200 with a true rate of 1 %, 8 % never would be hidden.
LEAST_POSTS = 200
_MAX_HOSTS = 8
_NUMBER_BITS, _WORD_BITS = 32, 64
_NUMBER, _WORD = (1 << _NUMBER_BITS) - 1, (1 << _WORD_BITS) - 1
# The reasons of values that were lowered begin so.
CAPPED = "capped: "


def sources_of(post: Post) -> tuple[str, ...]:
    """The sources of a post: `community:<name>`, `lang:<name>`, `author:<id>`, `host:<domain>`.

    The domains are those that somebody registered, of at most 8 hosts.  Equal names are one string.
    """
    sources = [f"community:{name}" for name in post.communities or ()]
    if post.lang is not None:
        sources.append(f"lang:{post.lang}")
    sources.append(f"author:{post.author_id}")
    sources += [f"host:{registered_domain(host)}" for host in hosts_of(post)[:_MAX_HOSTS]]
    return tuple(dict.fromkeys(map(sys.intern, sources)))


class ScoredPost(Struct, frozen=True, gc=False):
    """A post with the value that the model gave it; `at_ms` is its record's timestamp."""

    offset: int
    at_ms: int
    sources: tuple[str, ...]
    value: float


class _Window:
    """The last posts, oldest first: a ring of `WINDOW_RECORDS` places, 200 kB from the start.

    The sources of a post are one integer, see `_Sources`: a place has room for four of them, and
    what needs more is kept beside the ring.
    """

    def __init__(self) -> None:
        self._offsets = array("q", bytes(8 * WINDOW_RECORDS))
        self._at_ms = array("q", bytes(8 * WINDOW_RECORDS))
        self._values = array("d", bytes(8 * WINDOW_RECORDS))
        self._low = array("Q", bytes(8 * WINDOW_RECORDS))
        self._high = array("Q", bytes(8 * WINDOW_RECORDS))
        self._large: dict[int, int] = {}
        self._first = self._count = 0

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """Value and sources of each post."""
        for i in range(self._first, self._first + self._count):
            place = i % WINDOW_RECORDS
            yield self._values[place], self._sources_at(place)

    def append(self, post: ScoredPost, at_ms: int, sources: int) -> None:
        """Take a post after the last; there is a place after `take_until`."""
        place = (self._first + self._count) % WINDOW_RECORDS
        self._offsets[place], self._at_ms[place] = post.offset, at_ms
        self._values[place] = post.value
        if sources >> (2 * _WORD_BITS):
            self._large[place] = sources
        else:
            self._low[place] = sources & _WORD
            self._high[place] = sources >> _WORD_BITS
        self._count += 1

    def take_until(self, offset: int, at_ms: int) -> Iterator[tuple[float, int]]:
        """Take out the posts up to an offset, up to a time, and the oldest if no place is left.

        Yields value and sources of each.
        """
        while self._count:
            place = self._first
            is_full = self._count == WINDOW_RECORDS
            if self._offsets[place] > offset and self._at_ms[place] > at_ms and not is_full:
                return
            sources = self._sources_at(place)
            if self._large:
                self._large.pop(place, None)
            self._first, self._count = (place + 1) % WINDOW_RECORDS, self._count - 1
            yield self._values[place], sources

    def _sources_at(self, place: int) -> int:
        if place in self._large:
            return self._large[place]
        return self._high[place] << _WORD_BITS | self._low[place]


class _Sources:
    """The sources of the posts in a window: how many posts each has, and how many flagged ones.

    Each has a number from 1 on, and the sources of a post are one integer, 32 bits a number.  A
    source without posts is forgotten; its number may stand for another one afterwards.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.posts = [0]
        self.flagged = [0]
        self._names = [""]
        self._spare: list[int] = []

    def add(self, name: str) -> int:
        """The number of a source that has no post yet."""
        if self._spare:
            number = self._spare.pop()
            self._names[number] = name
        else:
            number = len(self._names)
            self._names.append(name)
            self.posts.append(0)
            self.flagged.append(0)
        self.numbers[name] = number
        return number

    def take_out(self, sources: int, *, is_flagged: bool) -> None:
        """A post left the window."""
        posts = self.posts
        while sources:
            number = sources & _NUMBER
            sources >>= _NUMBER_BITS
            if is_flagged:
                self.flagged[number] -= 1
            posts[number] -= 1
            if not posts[number]:
                del self.numbers[self._names[number]]
                self._names[number] = ""
                self._spare.append(number)

    def count_flagged(self, sources: int) -> None:
        """A post is flagged."""
        while sources:
            self.flagged[sources & _NUMBER] += 1
            sources >>= _NUMBER_BITS

    def clear_flagged(self) -> None:
        """No post is flagged."""
        self.flagged = [0] * len(self.posts)


class HideRates:
    """The hide rates of one partition's sources, over `WINDOW_RECORDS` and at most `WINDOW_MS`.

    It folds posts in the order of offsets.  What it returns for a post depends only on the posts in
    the window before it, so that a fold begun `WINDOW_RECORDS` earlier returns the same.
    200 kB, and the names of the sources.

    Parameters
    ----------
    flagged_at
        The value from which on a post would be hidden: it counts as flagged.
    max_rate
        The largest fraction of a source's posts that may be flagged.
    """

    def __init__(self, flagged_at: float, max_rate: float) -> None:
        self._flagged_at, self._max_rate = flagged_at, max_rate
        self._window = _Window()
        self._sources = _Sources()
        self._at_ms = 0

    def set_flagged_at(self, flagged_at: float) -> None:
        """Count posts as flagged from another value on, those in the window too."""
        if flagged_at == self._flagged_at:
            return
        self._flagged_at = flagged_at
        self._sources.clear_flagged()
        for value, sources in self._window:
            if value >= flagged_at:
                self._sources.count_flagged(sources)

    def fold(self, post: ScoredPost) -> str | None:
        """Fold the next post in.

        Returns
        -------
        The first of its sources whose rate was above the limit before it, None if there is none.
        """
        self._at_ms = max(self._at_ms, post.at_ms)
        self._forget(post.offset - WINDOW_RECORDS, self._at_ms - WINDOW_MS)
        known, over, sources = self._sources, None, 0
        numbers, posts, flagged = known.numbers, known.posts, known.flagged
        for source in post.sources:
            number = numbers.get(source)
            if number is None:
                number = known.add(source)
            count = posts[number]
            if over is None and count >= LEAST_POSTS and flagged[number] > self._max_rate * count:
                over = source
            posts[number] = count + 1
            sources = sources << _NUMBER_BITS | number
        if post.value >= self._flagged_at:
            known.count_flagged(sources)
        self._window.append(post, self._at_ms, sources)
        return over

    def is_over(self, source: str, part: float = 1.0) -> bool:
        """Whether a source's rate is above the limit, or above this part of it."""
        posts, flagged = self._counts(source)
        return posts >= LEAST_POSTS and flagged > part * self._max_rate * posts

    def rate(self, source: str) -> float:
        """The fraction of a source's posts that are flagged."""
        posts, flagged = self._counts(source)
        return flagged / max(posts, 1)

    def _counts(self, source: str) -> tuple[int, int]:
        number = self._sources.numbers.get(source)
        if number is None:
            return 0, 0
        return self._sources.posts[number], self._sources.flagged[number]

    def _forget(self, offset: int, at_ms: int) -> None:
        for value, sources in self._window.take_until(offset, at_ms):
            self._sources.take_out(sources, is_flagged=value >= self._flagged_at)


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
    below = np.float32(hide_at)
    if float(below) >= hide_at:
        below = np.nextafter(below, np.float32(0))
    lowered = max(float(below), 0.0)
    demote_at = general.demote_at
    if demote_at is not None and general.hide_at is not None and demote_at < general.hide_at:
        lowered = max(lowered, _least_float32(demote_at))
    return HideLimit(hide_at, lowered)


def _least_float32(threshold: float) -> float:
    """The least float32 that is not below a threshold."""
    at = np.float32(threshold)
    return float(at if float(at) >= threshold else np.nextafter(at, np.float32(1)))


def over_limit(
    posts: Sequence[ScoredPost], rates: HideRates, limit: HideLimit
) -> Iterator[tuple[int, str, float]]:
    """Fold posts in; yield position, source and rate of those that must not be hidden."""
    for i, post in enumerate(posts):
        over = rates.fold(post)
        if over is not None and post.value >= limit.hide_at:
            yield i, over, rates.rate(over)
