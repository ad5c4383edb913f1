"""The bare loop with one setting: it follows the weights of `global`, still without guarantees.

    python benchmarks/bare_settings.py

All scores are in numpy arrays; a new weight replaces the feed's best posts in one MULTI.
`bench_settings.py` runs it beside the worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import redis
from bare_loop import DAY_MS, EPOCH_MS, BareLoop, run
from confluent_kafka import Message

from feedmill.events.post import Post
from feedmill.streams.environment import Environment

FEED, SIZE = "global", 500
MOST_POSTS = 1_000_000
_ADD = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
"""

Floats = npt.NDArray[np.float64]


class Weights(msgspec.Struct):
    """What a record of `config` says of a feed's weights."""

    quality: float = 0.5
    engagement: float = 5.0
    half_life_hours: float | None = 24.0


class _Setting(msgspec.Struct):
    value: Weights


class BareSettings(BareLoop):
    """A feed of the best posts instead of one of all, ranked anew by each new weight."""

    topics = ("posts", "engagements", "config")

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._rows: dict[str, int] = {}
        self._ids = np.empty(MOST_POSTS, object)
        self._quality, self._engagements, self._days = np.zeros((3, MOST_POSTS))
        self._key = f"{self.prefix}feed:{{{FEED}}}"
        self._add = self.redis.script_load(_ADD)
        self._follow(Weights())

    def take_others(self, messages: Sequence[Message], pipeline: redis.client.Pipeline) -> None:
        """Rank by the newest of these weights."""
        key = f"weights/{FEED}".encode()
        values = [m.value() or b"" for m in messages if m.key() == key]
        if values:
            # What is older than the weights must not be written after them.
            pipeline.execute()
            self._follow(msgspec.json.decode(values[-1], type=_Setting).value)

    def rank(
        self, post: Post, quality: float, engagement: float, pipeline: redis.client.Pipeline
    ) -> None:
        """Write a post into the feeds of all posts, and into the one that is cut."""
        row = self._rows.setdefault(post.post_id, len(self._rows))
        self._ids[row] = post.post_id
        self._quality[row], self._engagements[row] = quality, engagement
        self._days[row] = (post.created_at_ms - EPOCH_MS) / DAY_MS
        score = float(self._scores(slice(row, row + 1))[0])
        pipeline.evalsha(self._add, 1, self._key, score, post.post_id, SIZE)
        self.write_score(self.feeds_of(post)[1:], post.post_id, score, pipeline)

    def _follow(self, weights: Weights) -> None:
        self._weights = weights
        scores = self._scores(slice(len(self._rows)))
        best = np.argpartition(-scores, SIZE)[:SIZE] if len(scores) > SIZE else slice(None)
        entries = dict(zip(self._ids[: len(scores)][best], scores[best].tolist(), strict=True))
        with self.redis.pipeline(transaction=True) as pipeline:
            if entries:
                pipeline.zadd(f"{self._key}:new", entries)
                pipeline.rename(f"{self._key}:new", self._key)
            info = f"{self._key}:info"
            pipeline.hset(info, items=["weights", msgspec.json.encode(weights), "size", SIZE])
            pipeline.execute()

    def _scores(self, rows: slice) -> Floats:
        weights = self._weights
        total = weights.quality * self._quality[rows]
        total += weights.engagement * self._engagements[rows]
        scores: Floats = np.log2(np.maximum(total, 2.0**-40))
        if weights.half_life_hours is not None:
            scores += self._days[rows] * (24 / weights.half_life_hours)
        return scores


if __name__ == "__main__":
    run(BareSettings)
