"""Feeds as Redis shows them, kept for when Redis is away: one read for all pages that look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import orjson
import redis

from feedmill.console.routes import Console, NotFound
from feedmill.console.shown import Shown
from feedmill.console.texts import Place, Texts
from feedmill.events.feeds import BUILT_IN_FEEDS, FEED_PATTERNS
from feedmill.events.post import Post
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot
from feedmill.streams.settings.clock import now_ms

T = TypeVar("T")
_FRESH_S = 0.5
_NAMES_S = 5.0
_MOST_KEPT = 256


@dataclass(frozen=True)
class SeenFeed:
    """A feed, or the list of an arm, and its posts as of `at_ms`; `snapshot` None: it is empty.

    `is_away`: Redis did not answer since then.
    """

    snapshot: FeedSnapshot | None
    posts: tuple[PostSnapshot, ...]
    at_ms: int
    is_away: bool = False

    @property
    def arms(self) -> list[str]:
        """The arms of what runs in the feed, the control first."""
        said = self.snapshot.info.get("experiment") if self.snapshot else None
        return [arm["name"] for arm in orjson.loads(said)["arms"]] if said else []


@dataclass
class _Kept:
    at_s: float = -1e9
    value: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Feeds:
    """Reads feeds for pages.  Any thread may ask."""

    def __init__(self, console: Console) -> None:
        self._reader = console.part(Shown).reader
        self._texts = console.part(Texts)
        self._lock = threading.Lock()
        self._kept: dict[Any, _Kept] = {}

    def names(self) -> list[str]:
        """Return the feeds that exist, as of some seconds ago; `global` always does."""
        kept = self._slot("names")
        with kept.lock:
            if time.monotonic() > kept.at_s + _NAMES_S:
                try:
                    kept.value = self._reader.feeds()
                except redis.RedisError:
                    kept.value = kept.value or []
                kept.at_s = time.monotonic()
            return sorted({"global", *kept.value}, key=lambda name: (name != "global", name))

    def drawn(self, key: tuple[str, ...], draw: Callable[[], T]) -> T:
        """Return what `draw` makes for all pages that show the same, twice a second at most."""
        kept = self._slot(("drawn", *key))
        with kept.lock:
            if time.monotonic() > kept.at_s + _FRESH_S:
                kept.value, kept.at_s = draw(), time.monotonic()
            drawn: T = kept.value
        return drawn

    def feed(self, name: str, top: int, arm: str = "") -> SeenFeed:
        """Return the first posts of a feed, or of an arm of it.

        Raises `NotFound` where there is no such feed, or no such arm.
        """
        kept = self._slot((name, top, arm))
        with kept.lock:
            if time.monotonic() > kept.at_s + _FRESH_S:
                try:
                    kept.value = self._read(name, top, arm)
                except redis.RedisError:
                    before = kept.value or SeenFeed(None, (), now_ms())
                    kept.value = SeenFeed(before.snapshot, before.posts, before.at_ms, is_away=True)
                kept.at_s = time.monotonic()
            seen: SeenFeed = kept.value
        return seen

    def _read(self, name: str, top: int, arm: str) -> SeenFeed:
        first = self._reader.feed(name, 0 if arm else top)
        if first is None:
            if name in BUILT_IN_FEEDS and name not in FEED_PATTERNS:
                return SeenFeed(None, (), now_ms())
            raise NotFound("feed", name, self.names())
        if arm:
            running = SeenFeed(first, (), 0).arms
            if arm not in running:
                raise NotFound("arm", arm, running)
            first = self._reader.feed(name, top, self._reader.arm_named(name, arm)) or first
        ids = [post_id for post_id, _ in first.ranking]
        return SeenFeed(first, tuple(self._reader.posts(ids)) if ids else (), now_ms())

    def _slot(self, key: object) -> _Kept:
        with self._lock:
            while len(self._kept) >= _MOST_KEPT and key not in self._kept:
                del self._kept[next(iter(self._kept))]
            return self._kept.setdefault(key, _Kept())

    def texts_of(self, posts: tuple[PostSnapshot, ...], wait_s: float) -> dict[str, Post | None]:
        """Return what these posts say, as far as it is known in time; None: the record is gone."""
        place_of = partial(self._texts.place_of)
        places = {post.post_id: place_of(post.post_id, post.post_offset) for post in posts}
        return texts_by_id(self._texts, places, wait_s)

    def close(self) -> None:
        """Nothing is open beside the client of `Shown`."""


def texts_by_id(texts: Texts, places: dict[str, Place], wait_s: float) -> dict[str, Post | None]:
    """Return the posts at places by their ids, those that are known in time."""
    found = texts.read(places.values(), wait_s)
    return {post_id: found[place] for post_id, place in places.items() if place in found}
