"""A loop that follows the contract of the Redis writer and keeps nothing but the newest state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from builders.changes import whole_feed, whole_post, write_batch
from builders.own_redis import RedisClient
from builders.redis_writer import KEYS, PREFIX
from builders.waiting import until
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.redis.writer_thread import WriterThread


class WritingLoop:
    """Owns feeds and posts, writes each of them whole, and again when a report says so.

    Attributes
    ----------
    feeds, posts
        The newest state: the scores of each feed, the fields of each post.
    submitted
        All batches that the writer took.
    report
        All that was polled so far.
    """

    def __init__(self, url: str, *, token: int = 10) -> None:
        self.feeds: dict[str, Mapping[str, float]] = {}
        self.posts: dict[str, Mapping[str, str]] = {}
        self.submitted: list[WriteBatch] = []
        self.report = WriteReport()
        self._token = token
        self._pending_feeds: dict[str, None] = {}
        self._pending_posts: dict[str, None] = {}
        self._pipeline = open_pipeline(url)
        self.writer = WriterThread(self._pipeline, PREFIX)

    def __enter__(self) -> WritingLoop:
        self.writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.writer.stop(20.0)
        self._pipeline.close()

    def set_feed(self, feed: str, scores: Mapping[str, float]) -> None:
        self.feeds[feed] = scores
        self._pending_feeds[feed] = None

    def remove_feed(self, feed: str) -> None:
        del self.feeds[feed]
        self._pending_feeds[feed] = None

    def set_post(self, post_id: str, **fields: str) -> None:
        self.posts[post_id] = fields
        self._pending_posts[post_id] = None

    def step(self) -> WriteReport:
        """One cycle: begin, poll, then submit what is pending as far as the writer takes it."""
        self.writer.begin()
        report = self.writer.poll() or WriteReport()
        self.report.add(report)
        if report.flushed:
            self._pending_feeds |= dict.fromkeys(self.feeds)
            self._pending_posts |= dict.fromkeys(self.posts)
        self._pending_feeds |= dict.fromkeys(report.rewrite_feeds & self.feeds.keys())
        self._pending_posts |= dict.fromkeys(report.rewrite_posts & self.posts.keys())
        posts, feeds = list(self._pending_posts), list(self._pending_feeds)
        if (posts or feeds) and self.writer.submit(self._batch(posts, feeds)):
            self.submitted.append(self._batch(posts, feeds))
            self._pending_posts.clear()
            self._pending_feeds.clear()
        return report

    def settle(self, seconds: float = 30.0) -> None:
        """Go on until everything that is pending was dealt with."""

        def is_settled() -> bool:
            self.step()
            return not (self._pending_feeds or self._pending_posts) and self.writer.is_idle

        until(is_settled, seconds, every=0.002)
        self.step()

    def _batch(self, posts: Iterable[str], feeds: Iterable[str]) -> WriteBatch:
        signals = [whole_post(post_id, **self.posts[post_id]) for post_id in posts]
        changes = [whole_feed(feed, self.feeds[feed]) for feed in feeds if feed in self.feeds]
        return write_batch(
            *signals,
            *changes,
            token=self._token,
            removed_feeds=[feed for feed in feeds if feed not in self.feeds],
        )


@contextmanager
def started_loop(url: str) -> Iterator[WritingLoop]:
    """A loop with two feeds and three posts that Redis shows."""
    with WritingLoop(url) as loop:
        loop.set_feed("global", {"p0": 1.0, "p1": 2.0})
        loop.set_feed("community:a", {"p2": 1.0})
        for i in range(3):
            loop.set_post(f"p{i}", spam="0.1 v1 1")
        loop.settle()
        yield loop


def shown(client: RedisClient) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The feeds on the index and the posts that Redis has."""
    feeds = {
        feed: dict(client.zrange(KEYS.feed(feed), 0, -1, withscores=True))
        for feed in client.zrange(KEYS.feed_index, 0, -1)
    }
    start = KEYS.signals("")
    posts = {
        key.removeprefix(start): client.hget(key, "spam") for key in client.scan_iter(f"{start}*")
    }
    return feeds, posts


def expected(loop: WritingLoop) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `shown` is to return of this loop."""
    return dict(loop.feeds), {post_id: fields["spam"] for post_id, fields in loop.posts.items()}
