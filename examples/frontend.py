"""A frontend: reads ranked feeds from Redis, page by page, and follows their changes.

It needs redis-py, and may read the keys `feed:*` and the channel `feed-changes`; it needs nothing
of feedmill. Copy what you need.

    python examples/frontend.py --redis redis://127.0.0.1:6379/0 --feed global --follow
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

WHOLE_FEED = 10_000  # no feed is longer


@dataclass(frozen=True)
class Feed:
    """The top of a feed at one version, best first, with the weights that ranked it."""

    name: str
    version: int
    posts: tuple[tuple[str, float], ...]
    weights: dict[str, Any]
    config_offset: int
    fresh_until_ms: int

    def stale(self, now_ms: float) -> bool:
        """Whether the combiner has not confirmed the ranking lately; show it all the same."""
        return now_ms > self.fresh_until_ms


def read_feed(client: redis.Redis, name: str, first: int = 50, prefix: str = "") -> Feed | None:
    """Read the first posts of a feed and its `:info`; None if there is no such feed.

    Both are read in one MULTI, so that ranking and weights belong together, whatever is written
    meanwhile.
    """
    key = f"{prefix}feed:{{{name}}}"
    with client.pipeline(transaction=True) as multi:
        multi.zrange(key, 0, first - 1, desc=True, withscores=True)
        multi.hgetall(f"{key}:info")
        ranking, info = multi.execute()
    if not info:
        return None
    return Feed(
        name=name,
        version=int(info[b"version"]),
        posts=tuple((post_id.decode(), score) for post_id, score in ranking),
        weights=json.loads(info[b"weights"]),
        config_offset=int(info[b"config_offset"]),
        fresh_until_ms=int(info[b"fresh_until_ms"]),
    )


@dataclass(frozen=True)
class Page:
    """Some posts of a feed, and the cursor of the next page; None on the last page.

    A page has fewer posts than it was asked for where some were hidden or deleted meanwhile.
    """

    version: int
    post_ids: tuple[str, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Place:
    """Where a page ended: the version of the ranking, and the last post with its score.

    It is all that a cursor holds, so any replica of the frontend can go on from it.
    """

    version: int
    score: float
    post_id: str

    def cursor(self) -> str:
        text = json.dumps([self.version, self.score, self.post_id])
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def of(cls, cursor: str) -> Place | None:
        """Read a cursor; None if it is none, as a user may have sent it."""
        try:
            version, score, post_id = json.loads(base64.urlsafe_b64decode(cursor))
            return cls(int(version), float(score), str(post_id))
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None

    def is_before(self, post_id: str, score: float) -> bool:
        """Whether a post comes after this place: by score, then by id, as Redis has it."""
        return (score, post_id.encode()) < (self.score, self.post_id.encode("utf-8", "replace"))


class Pages:
    """Serves feeds page by page; a user who scrolls on stays in the version of the first page.

    The ranking changes many times per minute. A second page from a newer version would repeat or
    skip posts. So the last `kept` rankings that were served stay in memory, some kilobytes each.
    What was hidden or deleted since leaves them: each later page asks once which of its posts the
    feed still has.

    Where a version is not kept, after a restart or by another replica, the newest ranking goes on
    behind the place of the cursor. Time changes no score, so only those posts are repeated or
    skipped that were liked, edited or weighed anew meanwhile; `version` of the page tells.
    """

    def __init__(self, client: redis.Redis, prefix: str = "", kept: int = 100) -> None:
        self._client, self._prefix, self._kept = client, prefix, kept
        self._rankings: OrderedDict[tuple[str, int], Feed] = OrderedDict()

    def page(self, name: str, size: int = 50, cursor: str | None = None) -> Page | None:
        """Return the first page, or the page of a cursor; None if there is no such feed."""
        place = None if cursor is None else Place.of(cursor)
        kept = None if place is None else self._rankings.get((name, place.version))
        feed = kept or self._newest(name)
        if feed is None:
            return None
        start = 0
        if place is not None:
            behind = (n for n, post in enumerate(feed.posts) if place.is_before(*post))
            start = next(behind, len(feed.posts))
        end = start + size
        posts = feed.posts[start:end]
        next_cursor = Place(feed.version, posts[-1][1], posts[-1][0]).cursor() if posts else None
        return Page(
            feed.version,
            self._still_shown(name, posts) if kept else tuple(post_id for post_id, _ in posts),
            next_cursor if end < len(feed.posts) else None,
        )

    def _still_shown(self, name: str, posts: Sequence[tuple[str, float]]) -> tuple[str, ...]:
        """Return those posts that the feed has now: what is hidden or deleted left it at once."""
        post_ids = [post_id for post_id, _ in posts]
        scores = self._client.zmscore(f"{self._prefix}feed:{{{name}}}", post_ids) if posts else []
        return tuple(one for one, score in zip(post_ids, scores, strict=True) if score is not None)

    def _newest(self, name: str) -> Feed | None:
        feed = read_feed(self._client, name, WHOLE_FEED, self._prefix)
        if feed is not None:
            self._rankings[name, feed.version] = feed
            while len(self._rankings) > self._kept:
                self._rankings.popitem(last=False)
        return feed


def changes(
    client: redis.Redis, name: str, prefix: str = "", seconds: float | None = None
) -> Iterator[int | None]:
    """Yield the version of a feed whenever it changed, for some seconds or without an end.

    Redis does not keep messages, and one can be lost. So None is yielded at the start and after
    two seconds without a message: read the feed then, too.
    """
    end = time.monotonic() + (float("inf") if seconds is None else seconds)
    subscription = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis has no type here
    subscription.subscribe(f"{prefix}feed-changes")
    quiet_since = 0.0
    try:
        while (now := time.monotonic()) < end:
            if now - quiet_since >= 2.0:
                quiet_since = now
                yield None
            message = subscription.get_message(timeout=min(0.5, end - now))
            if message is not None and (change := json.loads(message["data"]))["feed"] == name:
                quiet_since = time.monotonic()
                yield change["version"]
    finally:
        subscription.close()


def watch(client: redis.Redis, name: str, first: int, prefix: str, seconds: float | None) -> None:
    """Print the feed whenever it changed, at most twice per second."""
    printed = None
    for version in changes(client, name, prefix, seconds):
        if version is not None and printed is not None and version <= printed.version:
            continue
        feed = read_feed(client, name, first, prefix)
        if feed is not None and (printed is None or feed.version > printed.version):
            show(feed)
            printed = feed
            time.sleep(0.5)


def show(feed: Feed | None) -> None:
    """Print a feed."""
    if feed is None:
        print("no such feed yet")
        return
    stale = ", STALE" if feed.stale(time.time() * 1000) else ""
    print(f"{feed.name} version {feed.version}, config offset {feed.config_offset}{stale}")
    for rank, (post_id, score) in enumerate(feed.posts, 1):
        print(f"{rank:4} {score:16.6f} {post_id}")


def main() -> None:
    """Print a feed once, or with `--follow` whenever it changes."""
    parser = argparse.ArgumentParser(description="Print a ranked feed from Redis.")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--redis-prefix", default="")
    parser.add_argument("--feed", default="global")
    parser.add_argument("--top", type=int, default=50)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--for", dest="seconds", type=float, help="how long to follow")
    arguments = parser.parse_args()
    client = redis.Redis.from_url(arguments.redis)
    if arguments.follow:
        watch(client, arguments.feed, arguments.top, arguments.redis_prefix, arguments.seconds)
    else:
        show(read_feed(client, arguments.feed, arguments.top, arguments.redis_prefix))


if __name__ == "__main__":
    main()
