"""A bare start: read all that is known of the live posts, rank it once, write every feed.

    python benchmarks/bare_restore.py

The least that any engine must do before it serves: records are decoded once each, the newest of a
post counts, nothing is checked, no state is made of the counts, and nothing else goes on meanwhile.
`bench_restart.py` runs it beside the worker.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import defaultdict

import msgspec
import numpy as np
import redis
from bare_loop import DAY_MS, EPOCH_MS, READY
from confluent_kafka import Consumer, KafkaError, TopicPartition

from feedmill.events.post import Post
from feedmill.events.signal import Signal
from feedmill.streams.environment import Environment, read_environment

SIZE = 500
OWNER = 1
MOST_RECORDS = 10_000
HIDDEN_FROM = 0.9


class BareRestore:
    """Everything in memory, in plain dictionaries."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._signals: dict[str, dict[str, float]] = {
            environment.topic(f"signals.{name}"): {} for name in environment.signals.all
        }
        self._posts: dict[str, Post] = {}
        self._counters: dict[bytes, bytes] = {}

    def read(self) -> None:
        """Read every partition to its end."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._environment.kafka,
                "group.id": "bare-restore",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        topics = [*self._signals, *map(self._environment.topic, ("posts", "counters"))]
        found = consumer.list_topics(timeout=10).topics
        partitions = [
            TopicPartition(topic, number, 0)
            for topic in topics
            for number in found[topic].partitions
        ]
        consumer.assign(partitions)
        unfinished = len(partitions)
        while unfinished:
            for message in consumer.consume(MOST_RECORDS, 0.1):
                error = message.error()
                if error is None:
                    self._take(message.topic() or "", message.key() or b"", message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished -= 1
        consumer.close()

    def write(self) -> None:
        """Rank the posts of each feed and write it."""
        topic = self._environment.topic
        posts = list(self._posts.values())
        ids = [post.post_id for post in posts]
        spam, quality, engagement = (
            np.array([self._signals[topic(f"signals.{name}")][post_id] for post_id in ids])
            for name in ("spam", "quality", "engagement")
        )
        days = np.array([(post.created_at_ms - EPOCH_MS) / DAY_MS for post in posts])
        scores = np.log2(np.maximum(0.5 * quality + 5.0 * engagement, 2.0**-40)) + days
        scores[spam >= HIDDEN_FROM] = -np.inf
        feeds = defaultdict[str, list[int]](list)
        for row, post in enumerate(posts):
            feeds["global"].append(row)
            feeds[f"lang:{post.lang}"].append(row)
            for community in post.communities or ():
                feeds[f"community:{community}"].append(row)
        client = redis.Redis.from_url(self._environment.redis)
        prefix = self._environment.redis_prefix
        for name, rows in feeds.items():
            best = np.array(rows)[np.argsort(-scores[rows])[:SIZE]].tolist()
            key = f"{prefix}feed:{{{name}}}"
            with client.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                pipeline.zadd(key, {ids[row]: float(scores[row]) for row in best})
                info = {"size": len(best), "owner": OWNER, "config_offset": -1}
                pipeline.hset(f"{key}:info", items=[one for pair in info.items() for one in pair])
                pipeline.execute()

    def _take(self, topic: str, key: bytes, value: bytes) -> None:
        values = self._signals.get(topic)
        if values is not None:
            record = msgspec.json.decode(value, type=Signal)
            values[record.post_id] = record.value or 0.0
        elif topic == self._environment.topic("posts"):
            post = msgspec.json.decode(value, type=Post)
            self._posts[post.post_id] = post
        else:
            self._counters[key] = value


def main() -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    loop = BareRestore(read_environment(dict(os.environ)))
    loop.read()
    loop.write()
    print(READY, flush=True)
    told.wait()


if __name__ == "__main__":
    main()
