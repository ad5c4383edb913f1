"""A batch writer for tests, without its thread."""

from typing import Any

from builders.changes import write_batch
from builders.contract_oracle import shard_of
from builders.own_redis import RedisClient
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.scripts import Keys
from feedmill.streams.redis.write_batch import WriteReport

PREFIX = "test."
KEYS = Keys(PREFIX)


class SteppedWriter:
    """A batch writer with a clock that the test moves."""

    def __init__(self, url: str) -> None:
        self.now_s = 0.0
        self.batch_writer = BatchWriter(open_pipeline(url), PREFIX, lambda: self.now_s)
        self.batch_writer.probe(WriteReport())

    def write(
        self, *changes: SignalsChange | FeedChange, token: int = 10, **more: Any
    ) -> WriteReport:
        """Write these changes and return what became of them."""
        report = WriteReport()
        self.batch_writer.write(write_batch(*changes, token=token, **more), report)
        return report

    def tend_after(self, seconds: float) -> WriteReport:
        """Let some seconds pass and return what was due."""
        self.now_s += seconds
        report = WriteReport()
        self.batch_writer.tend(report)
        return report

    def announce_after(self, seconds: float) -> None:
        """Let some seconds pass and publish what is due."""
        self.now_s += seconds
        if self.batch_writer.next_s() <= self.now_s:
            self.batch_writer.tend(WriteReport())


def feed_of(client: RedisClient, feed: str = "global") -> dict[str, float]:
    """Return the scores of a feed."""
    members = client.zrange(KEYS.feed(feed), 0, -1, withscores=True)
    return dict(members)


def index(client: RedisClient) -> dict[str, float]:
    """Return the tokens on the index of feeds, each of which stands under its shard there."""
    scores = client.zrange(KEYS.feed_index, 0, -1, withscores=True)
    assert all(int(score) >> 47 == shard_of(feed) for feed, score in scores)
    return {feed: int(score) % 2**47 for feed, score in scores}


def everything(client: RedisClient) -> dict[str, object]:
    """Return all keys but canaries with their content."""
    found: dict[str, object] = {}
    for key in client.scan_iter(f"{PREFIX}*"):
        kind = client.type(key)
        if kind == "zset":
            found[key] = client.zrange(key, 0, -1, withscores=True)
        elif kind == "hash":
            found[key] = client.hgetall(key)
        elif not key.startswith(f"{PREFIX}flush-marker:"):
            found[key] = client.get(key)
    return found
