"""The share of posts that a filter flags, by where they come from.

A filter that flags one ordinary post in a hundred at home may flag one in ten elsewhere.  Where it
flags more than a cap of a community's, a language's or a linked host's posts, it is more likely
wrong than right, and should demote instead of hiding until somebody has looked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.hosts import hosts_of

# Of one partition: so many records back, and so long.
WINDOW_RECORDS = 5000
WINDOW_MS = 60 * 60 * 1000
# A share of fewer posts says little: of 200 with 1 % flagged, 8 % never are.
LEAST_POSTS = 200
_MOST_HOSTS = 8


def sources_of(post: Post) -> tuple[str, ...]:
    """Where a post comes from: `community:<name>`, `lang:<name>` and `host:<name>`."""
    found = [f"community:{name}" for name in post.communities or ()]
    if post.lang is not None:
        found.append(f"lang:{post.lang}")
    found += [f"host:{host}" for host in hosts_of(post)[:_MOST_HOSTS]]
    return tuple(dict.fromkeys(found))


class ScoredPost(NamedTuple):
    """A post and what the model said of it."""

    offset: int
    at_ms: int
    sources: tuple[str, ...]
    value: float


class HideRates:
    """The sources of one partition over its last `WINDOW_RECORDS` records, at most `WINDOW_MS`.

    A fold in the order of offsets; what it says of a post depends on the posts before it alone.
    Read from `WINDOW_RECORDS` before an offset on it says the same from there.  About 1 MB.
    """

    def __init__(self, flagged_at: float, cap: float) -> None:
        self._flagged_at, self._cap = flagged_at, cap
        self._window: deque[ScoredPost] = deque()
        self._posts: dict[str, int] = {}
        self._flagged: dict[str, int] = {}
        self._at_ms = 0

    def set_flagged_at(self, flagged_at: float) -> None:
        """Count values from here on as flagged, in the whole window."""
        if flagged_at == self._flagged_at:
            return
        self._flagged_at, self._flagged = flagged_at, {}
        for judged in self._window:
            self._count_flagged(judged, 1)

    def fold(self, judged: ScoredPost) -> str | None:
        """Take the next post; the source of it that was over the cap before it, None if none."""
        self._at_ms = max(self._at_ms, judged.at_ms)
        self._forget(judged.offset - WINDOW_RECORDS, self._at_ms - WINDOW_MS)
        over = None
        for source in judged.sources:
            if over is None and self.is_over(source):
                over = source
            self._posts[source] = self._posts.get(source, 0) + 1
        self._count_flagged(judged, 1)
        self._window.append(judged._replace(at_ms=self._at_ms))
        return over

    def is_over(self, source: str, part: float = 1.0) -> bool:
        """Whether more than the cap, or this part of it, of a source's posts are flagged."""
        posts = self._posts.get(source, 0)
        return posts >= LEAST_POSTS and self._flagged.get(source, 0) > part * self._cap * posts

    def share(self, source: str) -> float:
        """The share of a source's posts that are flagged."""
        return self._flagged.get(source, 0) / max(self._posts.get(source, 0), 1)

    def _forget(self, offset: int, at_ms: int) -> None:
        window = self._window
        while window and (window[0].offset <= offset or window[0].at_ms <= at_ms):
            gone = window.popleft()
            self._count_flagged(gone, -1)
            for source in gone.sources:
                left = self._posts[source] - 1
                if left:
                    self._posts[source] = left
                else:
                    del self._posts[source]
                    self._flagged.pop(source, None)

    def _count_flagged(self, judged: ScoredPost, by: int) -> None:
        if judged.value >= self._flagged_at:
            for source in judged.sources:
                self._flagged[source] = self._flagged.get(source, 0) + by


class HideLimit(NamedTuple):
    """From where on a value hides a post somewhere, and what it becomes where it must not."""

    hide_at: float
    lowered: float


def hide_limit(settings: Settings, name: str) -> HideLimit | None:
    """Of a gate under all policies in force; None if it hides nowhere.

    What is lowered stays below the least `hide_at` of the general policy and of every feed's, and
    not below the general `demote_at`, which goes before.
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
        lowered = max(lowered, _from(demote_at))
    return HideLimit(hide_at, lowered)


def _from(threshold: float) -> float:
    """The least float32 that is not below a threshold."""
    at = np.float32(threshold)
    return float(at if float(at) >= threshold else np.nextafter(at, np.float32(1)))


def over_limit(
    posts: Sequence[ScoredPost], shares: HideRates, at: HideLimit
) -> Iterator[tuple[int, str, float]]:
    """Fold posts in; position, source and its share of each that must not be hidden."""
    for i, judged in enumerate(posts):
        over = shares.fold(judged)
        if over is not None and judged.value >= at.hide_at:
            yield i, over, shares.share(over)
