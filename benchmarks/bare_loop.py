"""The bare loop: the least that any engine must do for a post, and none of the guarantees.

One process: consume, decode, score with the shipped models, produce the signals, write Redis.  No
transaction, no gate, no settings, no recovery, no near copies, no limits.  The benchmarks run it
beside feedmill, in the same run and watched the same way.

    python benchmarks/bare_loop.py [--from-beginning]

It reads FEEDMILL_KAFKA, FEEDMILL_REDIS and the two prefixes.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import redis
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from feedmill.events.decode import decode_engagement, decode_post, encode
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.features.counters import Counters, update
from feedmill.features.post_batch import PostBatch
from feedmill.filters.registry import FILTERS
from feedmill.filters.registry import load as load_filter
from feedmill.models.text_model import TextModel
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import load as load_ranker
from feedmill.streams.environment import Environment, read_environment

MOST_RECORDS = 1000
WAIT_S = 0.005
BOUNDS_WITHIN_S = 20.0
EPOCH_MS, DAY_MS = 1_577_836_800_000, 86_400_000
READY = "ready"


class BareLoop:
    """Everything in memory, everything in one thread but librdkafka's I/O."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._redis = redis.Redis.from_url(environment.redis)
        self._prefix = environment.redis_prefix
        common = {"bootstrap.servers": environment.kafka}
        self._consumer = Consumer(
            {**common, "group.id": "bare-loop", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
        )
        self._producer = Producer({**common, "linger.ms": 0, "partitioner": "murmur2_random"})
        self._models: dict[str, TextModel] = {name: load_filter(name) for name in FILTERS}
        self._models["quality"] = cast(TextModel, load_ranker("quality"))
        self._engagement = cast(ExpectedClicks, load_ranker("engagement"))
        self._posts: dict[str, tuple[int, Post, float, float]] = {}
        self._counters: dict[str, Counters] = {}
        self.stopping = False

    def assign(self, *, from_beginning: bool = False) -> None:
        """Take every partition of its topics, from one of their ends on."""
        topics = {self._environment.topic(name) for name in ("posts", "engagements")}
        found = self._consumer.list_topics(timeout=10).topics
        partitions = []
        for topic in sorted(topics):
            for number in found[topic].partitions:
                partition = TopicPartition(topic, number)
                first, end = self._bounds(partition)
                start = first if from_beginning else end
                partitions.append(TopicPartition(topic, number, start))
        self._consumer.assign(partitions)

    def _bounds(self, partition: TopicPartition) -> tuple[int, int]:
        until = time.monotonic() + BOUNDS_WITHIN_S
        while True:
            try:
                first, end = self._consumer.get_watermark_offsets(partition, timeout=10)
                return first, end
            except KafkaException:
                # A topic that was just created has no leader for a moment.
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def run(self) -> None:
        """Loop until told to stop."""
        posts, engagements = map(self._environment.topic, ("posts", "engagements"))
        while not self.stopping:
            first = self._consumer.poll(WAIT_S)
            if first is None:
                continue
            messages = [
                m for m in (first, *self._consumer.consume(MOST_RECORDS, 0)) if not m.error()
            ]
            pipeline = self._redis.pipeline(transaction=False)
            self._take_posts([m for m in messages if m.topic() == posts], pipeline)
            self._take_engagements([m for m in messages if m.topic() == engagements], pipeline)
            pipeline.execute()
            self._producer.poll(0)
        self._producer.flush(5)
        self._consumer.close()

    def _take_posts(self, messages: Sequence[Message], pipeline: redis.client.Pipeline) -> None:
        taken = [(m, decode_post(m.key(), m.value())) for m in messages]
        posts = [(m, post) for m, post in taken if not isinstance(post, Deletion)]
        if not posts:
            return
        batch = PostBatch([post for _, post in posts])
        values = {name: model.score_batch(batch) for name, model in self._models.items()}
        values["engagement"] = self._engagement.prior_many(batch.posts)
        for row, (message, post) in enumerate(posts):
            fields = {name: float(np.float32(column[row])) for name, column in values.items()}
            offset, at_ms = message.offset() or 0, message.timestamp()[1]
            for name, value in fields.items():
                self._signal(name, post.post_id, offset, value, at_ms)
            prior, quality = fields["engagement"], fields["quality"]
            self._posts[post.post_id] = (offset, post, prior, quality)
            pipeline.hset(f"{self._prefix}signals:{post.post_id}", mapping=cast(Any, fields))
            self._rank(post, quality, prior, pipeline)

    def _take_engagements(
        self, messages: Sequence[Message], pipeline: redis.client.Pipeline
    ) -> None:
        touched = set()
        for message in messages:
            event = decode_engagement(message.key(), message.value())
            counters = self._counters.setdefault(event.post_id, Counters())
            at_ms = min(event.at_ms, message.timestamp()[1])
            update(counters, event.kind, at_ms, event.dwell_ms)
            touched.add(event.post_id)
        known = [post_id for post_id in touched if post_id in self._posts]
        if not known:
            return
        priors = np.array([self._posts[post_id][2] for post_id in known])
        counts = [self._counters[post_id] for post_id in known]
        values = self._engagement.score_many(priors, counts)
        for post_id, value in zip(known, values.tolist(), strict=True):
            offset, post, _, quality = self._posts[post_id]
            self._signal("engagement", post_id, offset, value, max(counts[0].at_ms))
            pipeline.hset(f"{self._prefix}signals:{post_id}", "engagement", value)
            self._rank(post, quality, value, pipeline)

    def _signal(self, name: str, post_id: str, offset: int, value: float, at_ms: int) -> None:
        record = Signal(post_id, offset, value, name, "bare", at_ms)
        topic = self._environment.topic(f"signals.{name}")
        self._producer.produce(topic, key=post_id.encode(), value=encode(record))

    def _rank(
        self, post: Post, quality: float, engagement: float, pipeline: redis.client.Pipeline
    ) -> None:
        """Write the score of a post into its feeds."""
        total = 0.5 * quality + 5.0 * engagement
        score = math.log2(max(total, 2**-40)) + (post.created_at_ms - EPOCH_MS) / DAY_MS
        feeds = ["global", *(f"community:{name}" for name in post.communities or ())]
        for feed in feeds if post.lang is None else [*feeds, f"lang:{post.lang}"]:
            pipeline.zadd(f"{self._prefix}feed:{{{feed}}}", {post.post_id: score})


def run() -> None:
    """Run a bare loop until this process is told to end."""
    loop = BareLoop(read_environment(dict(os.environ)))
    loop.assign(from_beginning="--from-beginning" in sys.argv)
    signal.signal(signal.SIGTERM, lambda *_: setattr(loop, "stopping", True))
    print(READY, flush=True)
    loop.run()


if __name__ == "__main__":
    run()
