"""Feeds as Redis shows them, kept for when Redis is away: one read for all pages that look."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson
import redis

from feedmill.console.routes import Conflict, Console, NotFound
from feedmill.console.shared import Shared
from feedmill.console.texts import Place, Texts
from feedmill.events.feeds import BUILT_IN_FEEDS, FEED_PATTERNS
from feedmill.events.post import Post
from feedmill.streams.redis.reader import (
    FeedReader,
    FeedSnapshot,
    PostSnapshot,
    open_feed_reader,
)
from feedmill.streams.settings.clock import now_ms

_FRESH_S = 0.5
_NAMES_S = 5.0
_EDITED_S = 3.0


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


class Feeds:
    """Reads feeds and posts for pages, by one client.  Any thread may ask.

    `reader`, for what is not shared, raises `redis.RedisError`.
    """

    def __init__(self, console: Console) -> None:
        environment = console.environment
        self.reader: FeedReader = open_feed_reader(environment.redis, environment.redis_prefix)
        self._texts = console.part(Texts)
        self._shared = console.part(Shared)

    def names(self) -> list[str]:
        """Return the feeds that exist, as of some seconds ago; `global` always does."""
        names = self._shared.get("feeds", _NAMES_S, self._read_names)
        return sorted({"global", *names}, key=lambda name: (name != "global", name))

    def _read_names(self) -> list[str]:
        try:
            return self.reader.feeds()
        except redis.RedisError:
            return self._shared.last("feeds") or []

    def feed(self, name: str, top: int, arm: str = "") -> SeenFeed:
        """Return the first posts of a feed, or of an arm of it.

        Raises `NotFound` where there is no such feed, or no such arm.
        """
        key = ("feed", name, top, arm)

        def read() -> SeenFeed:
            try:
                return self._read(name, top, arm)
            except redis.RedisError:
                before = self._shared.last(key) or SeenFeed(None, (), now_ms())
                return replace(before, is_away=True)

        return self._shared.get(key, _FRESH_S, read)

    def _read(self, name: str, top: int, arm: str) -> SeenFeed:
        first = self.reader.feed(name, 0 if arm else top)
        if first is None:
            if name in BUILT_IN_FEEDS and name not in FEED_PATTERNS:
                return SeenFeed(None, (), now_ms())
            raise NotFound("feed", name, self.names())
        if arm:
            running = SeenFeed(first, (), 0).arms
            if arm not in running:
                raise NotFound("arm", arm, running)
            first = self.reader.feed(name, top, self.reader.arm_named(name, arm)) or first
        ids = [post_id for post_id, _ in first.ranking]
        return SeenFeed(first, tuple(self.reader.posts(ids)) if ids else (), now_ms())

    def texts_of(self, posts: tuple[PostSnapshot, ...], wait_s: float) -> dict[str, Post | None]:
        """Return what these posts say, as far as it is known in time; None: the record is gone."""
        place_of = self._texts.place_of
        places = {post.post_id: place_of(post.post_id, post.post_offset) for post in posts}
        return texts_by_id(self._texts, places, wait_s)

    def check_version(self, post_id: str, shown_offset: int) -> None:
        """Raise `Conflict` with the new text unless the version that a page showed is current.

        Raises `NotFound` where Redis knows nothing of the post.
        """
        found = self.reader.post(post_id)
        if not found.known:
            raise NotFound("post", post_id)
        if found.post_offset != shown_offset:
            post = self.texts_of((found,), _EDITED_S).get(post_id)
            text = "" if post is None else f", and says now: {post.text}"
            raise Conflict(f"post `{post_id}` was edited meanwhile{text}. Nothing was written")

    def close(self) -> None:
        """Disconnect."""
        self.reader.client.close()


def texts_by_id(texts: Texts, places: dict[str, Place], wait_s: float) -> dict[str, Post | None]:
    """Return the posts at places by their ids, those that are known in time."""
    found = texts.read(places.values(), wait_s)
    return {post_id: found[place] for post_id, place in places.items() if place in found}
