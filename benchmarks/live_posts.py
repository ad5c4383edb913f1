"""Live posts as an installation holds them after a day: written to Kafka as records, not judged.

Of each post there are its record, the signals that default weights ask for and its counts.
Superseded are older signals of engagement, two a post unless told otherwise, and half as many older
counts.  The posts' records have the times of the last 24 hours, so that the memory of near copies
is as long as in life.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from load import texts

from feedmill.events.decode import encode
from feedmill.events.partition import partitions_of
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.features.counters import Counters, update
from feedmill.streams.engagement.packed_states import PostState, encode_state
from feedmill.streams.environment import Environment

DAY_MS = 86_400_000
POSTS_A_COMMUNITY = 600
MOST_COMMUNITIES = 900  # a pattern has 1,000 feeds unless a setting says otherwise
OLDER_ENGAGEMENT = 2
VERSION = "56e6e21cd4ce"  # as long as those of shipped models
NAMES = SignalNames()
# What an engine writes whose weights nobody has set.
WRITTEN = tuple(n for n in NAMES.all if n in NAMES.gates or n in Settings(NAMES).weighed)
_HIDDEN = 0.05
_TEXTS = 5_000


class LivePosts:
    """Writes so many posts and all that is known of them, `older` signals of engagement a post."""

    def __init__(
        self,
        environment: Environment,
        posts: int,
        partitions: int,
        older: float = OLDER_ENGAGEMENT,
    ) -> None:
        self._environment = environment
        self._producer = Producer(
            {
                "bootstrap.servers": environment.kafka,
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
            }
        )
        self._keys = [f"post-{i:015d}".encode() for i in range(posts)]
        self._partitions = partitions_of(self._keys, partitions).tolist()
        self._now_ms = time.time_ns() // 1_000_000
        self._created_ms = np.linspace(self._now_ms - DAY_MS, self._now_ms, posts).astype(int)
        self._offsets = _places(self._partitions)
        self.communities = min(max(1, posts // POSTS_A_COMMUNITY), MOST_COMMUNITIES)
        self.records = 0
        self._older = older

    @property
    def post_ids(self) -> list[str]:
        """Return the ids, 20 bytes each."""
        return [key.decode() for key in self._keys]

    def write(self) -> None:
        """Write everything, and commit the group's offsets behind it."""
        with _with_own_times(self._environment, "posts"):
            for row, text in enumerate(
                islice(cycle(list(islice(texts(1), _TEXTS))), len(self._keys))
            ):
                self._write("posts", row, self._post(row, text), int(self._created_ms[row]))
            self._flush()
        for number in range(math.ceil(self._older)):
            rows = self._rows(self._older - number)
            self._write_signal("engagement", seed=number, rows=rows)
        self._write_counters(events=1, rows=self._rows(self._older / 2))
        for seed, name in enumerate(WRITTEN):
            self._write_signal(name, seed=10 + seed)
        self._write_counters(events=2)
        self._flush()
        self._commit()

    def _post(self, row: int, text: str) -> bytes:
        post = Post(
            self._keys[row].decode(),
            f"author-{row // 3:013d}",
            int(self._created_ms[row]),
            text,
            lang="en",
            communities=(f"c{row % self.communities}",),
        )
        return encode(post)

    def _rows(self, share: float) -> int:
        return min(len(self._keys), round(len(self._keys) * share))

    def _write_signal(self, name: str, seed: int, rows: int | None = None) -> None:
        """Write one signal a post, of the first `rows` posts; one post in 20 is spam."""
        values = np.random.default_rng(seed).random(len(self._keys), np.float32) * np.float32(0.3)
        if name == "spam":
            values[values < 0.3 * _HIDDEN] = 0.99
        for row, value in enumerate(values[:rows].tolist()):
            signal = Signal(
                self._keys[row].decode(),
                self._offsets[row],
                value,
                name,
                VERSION,
                int(self._created_ms[row]) + 40,
                revision=seed,
            )
            self._write(f"signals.{name}", row, encode(signal))

    def _write_counters(self, events: int, rows: int | None = None) -> None:
        for row, key in enumerate(self._keys[:rows]):
            at_ms = int(self._created_ms[row])
            counters = Counters()
            for _ in range(events):
                update(counters, "impression", at_ms)
                update(counters, "click", at_ms)
            state = PostState(
                key.decode(), self._offsets[row], prior=0.05, at_ms=at_ms, counters=counters
            )
            self._write("counters", row, encode_state(state))

    def _write(self, topic: str, row: int, value: bytes, at_ms: int = 0) -> None:
        self.records += 1
        if self.records % 10_000 == 0:
            self._producer.poll(0)
        while True:
            try:
                self._producer.produce(
                    self._environment.topic(topic),
                    value,
                    self._keys[row],
                    self._partitions[row],
                    timestamp=at_ms,
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _flush(self) -> None:
        if self._producer.flush(120):
            raise SystemExit("Kafka does not take the records")

    def _commit(self) -> None:
        """A worker that starts now has judged everything."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._environment.kafka,
                "group.id": self._environment.group("worker"),
                "enable.auto.commit": False,
            }
        )
        ends = np.bincount(self._partitions)
        topics = {"posts": ends.tolist(), "engagements": [0] * len(ends)}
        offsets = [
            TopicPartition(self._environment.topic(topic), partition, end)
            for topic, all_ends in topics.items()
            for partition, end in enumerate(all_ends)
        ]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()


def _places(partitions: list[int]) -> list[int]:
    """Return the offset of each record in its partition, from 0 on."""
    ends: dict[int, int] = {}
    places = []
    for partition in partitions:
        places.append(ends.get(partition, 0))
        ends[partition] = places[-1] + 1
    return places


@contextmanager
def _with_own_times(environment: Environment, topic: str) -> Iterator[None]:
    """Have a topic take the producer's timestamps for as long as the block lasts."""
    name = environment.topic(topic)
    admin = KafkaAdminClient(bootstrap_servers=environment.kafka)
    day = str(7 * DAY_MS)

    def change(settings: dict[str, str]) -> None:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, settings)])
        time.sleep(1)  # the controller answers before the broker has it

    try:
        change({"message.timestamp.type": "CreateTime", "segment.ms": day})
        yield
        change({"message.timestamp.type": "LogAppendTime", "segment.ms": "600000"})
    finally:
        admin.close()
