"""The topics of an engine, written and read by plain clients."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import kafka
import numpy as np
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from kafka import KafkaConsumer, KafkaProducer
from kafka.partitioner.default import murmur2

from builders.waiting import now_ms
from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.features.counters import KIND_INDEX
from feedmill.streams.engagement.repeated_engagements import COMPLAINTS

PARTITIONS = 4
Json = dict[str, Any]
Position = tuple[str, int, int]


def post_of(post_id: str, text: str = "A walk by the river", **more: Any) -> Json:
    """A post of now, by an author of its own unless told otherwise."""
    value = {"post_id": post_id, "author_id": f"author-of-{post_id}", "text": text}
    return {**value, "created_at_ms": now_ms(), **more}


def id_in(partition: int, start: str, of: int = PARTITIONS) -> str:
    """An id that begins so and belongs to a partition of so many."""
    ids = (f"{start}-{i}" for i in itertools.count())
    return next(one for one in ids if (murmur2(one.encode()) & 0x7FFFFFFF) % of == partition)


class Record(NamedTuple):
    """A record as it stands in a topic; the timestamp is Unix milliseconds.

    The value is bytes or None: whoever reads a topic knows whether it may be empty.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: Any
    headers: list[tuple[str, bytes]]

    @classmethod
    def of(cls, message: Message) -> "Record":
        where = message.topic(), message.partition(), message.offset(), message.timestamp()[1]
        return cls(*where, message.key(), message.value(), message.headers() or [])


def committed_records(kafka: str, *topics: str) -> Iterator[Record]:
    """Every committed record of topics up to where they end now, in order in a partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "outside",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # An empty partition says at once that it ends.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        known = consumer.list_topics(timeout=30).topics
        at = {(topic, p) for topic in topics for p in known[topic].partitions}
        consumer.assign([TopicPartition(*one, 0) for one in at])
        while at:
            for message in consumer.consume(10_000, 0.05):
                error = message.error()
                if error is None:
                    yield Record.of(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    at.discard((message.topic(), message.partition()))
                elif not error.retriable():
                    raise AssertionError(f"{topics}: {error}")
    finally:
        consumer.close()


class LatestValues:
    """The last value of every key of a topic, read on from where the look before ended."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._found: dict[str, Json] = {}

    def read(self) -> dict[str, Json]:
        ends = self._consumer.end_offsets(list(self._consumer.assignment()))
        while any(self._consumer.position(part) < end for part, end in ends.items()):
            for records in self._consumer.poll(timeout_ms=500).values():
                for record in records:
                    self._take(record.key.decode(), record.value)
        return dict(self._found)

    def _take(self, key: str, value: bytes | None) -> None:
        if value:
            self._found[key] = json.loads(value)
        else:
            self._found.pop(key, None)

    def close(self) -> None:
        self._consumer.close()


class EngineTopics:
    """The topics under one prefix; `signals` names those beside the six that ship."""

    kafka: str
    prefix: str
    gates: tuple[str, ...]
    producer: KafkaProducer
    _latest: dict[tuple[str, int], LatestValues]

    def topic(self, name: str) -> str:
        return self.prefix + name

    def send(self, topic: str, key: str | bytes | None, value: Any, **more: Any) -> Any:
        """Send one record; a future whose `get()` knows its partition and offset."""
        raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        raw_key = key.encode() if isinstance(key, str) else key
        return self.producer.send(self.topic(topic), key=raw_key, value=raw, **more)

    def post(self, post_id: str, text: str = "A walk by the river", **more: Any) -> int:
        """Write a post; its offset."""
        return int(self.send("posts", post_id, post_of(post_id, text, **more)).get(30).offset)

    def posts(self, values: Iterable[Json]) -> dict[str, int]:
        """Write many posts; their offsets."""
        sent = {v["post_id"]: self.send("posts", v["post_id"], v) for v in values}
        return {post_id: int(future.get(60).offset) for post_id, future in sent.items()}

    def click(self, post_id: str, user_id: str = "u", **more: Any) -> Any:
        """Write a click, of now unless told otherwise; a future."""
        event = {"post_id": post_id, "user_id": user_id, "kind": "click", "at_ms": now_ms()}
        return self.send("engagements", post_id, {**event, **more})

    def clicks(self) -> Counter[str]:
        """How many clicks are counted of each post."""
        latest = self.latest("counters").items()
        return Counter({post_id: one["counters"]["counts"][1] for post_id, one in latest})

    def hide(self, post_id: str) -> None:
        """Write what `feedmill override hide` writes."""
        verdict = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
        self.send("overrides", f"post:{post_id}|*", verdict).get(30)

    def signal(self, name: str, post_id: str, offset: int, value: float | None, **more: Any) -> Any:
        """Write the signal of a stage for one version of a post."""
        fields: Json = {
            "post_id": post_id,
            "post_offset": offset,
            "value": None if value is None else float(np.float32(value)),
            "model": name,
            "version": "written-by-the-test",
            "at_ms": now_ms(),
        }
        return self.send(f"signals.{name}", post_id, {**fields, **more})

    def set(self, key: str, value: Any, **more: Any) -> int:
        """Write a setting; its offset."""
        record = None if value is None else {"value": value, **more}
        return int(self.send("config", key, record, partition=0).get(30).offset)

    def consumer(self, *names: str, beginning: bool = False) -> KafkaConsumer:
        consumer = KafkaConsumer(
            bootstrap_servers=self.kafka,
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            isolation_level="read_committed",
            check_crcs=False,  # in Python it takes a second a megabyte
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        parts = [
            kafka.TopicPartition(self.topic(name), p)
            for name in names
            for p in sorted(consumer.partitions_for_topic(self.topic(name)) or ())
        ]
        consumer.assign(parts)
        (consumer.seek_to_beginning if beginning else consumer.seek_to_end)()
        for part in parts:
            consumer.position(part)
        return consumer

    def records(self, *names: str) -> Iterator[Record]:
        """Every committed record of topics up to where they end now, in order in a partition."""
        return committed_records(self.kafka, *map(self.topic, names))

    def read_all(self, *names: str) -> list[Record]:
        return list(self.records(*names))

    def notes(self, group: str, name: str) -> dict[int, str]:
        """By partition of `posts` a note that a group of workers has beside its offset."""
        admin, wanted = AdminClient({"bootstrap.servers": self.kafka}), self.topic(group)
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(wanted)])
        found = {}
        for at in asked[wanted].result(30).topic_partitions:
            notes = json.loads(at.metadata or "{}").get("notes", {})
            if at.topic == self.topic("posts") and name in notes:
                found[at.partition] = notes[name]
        return found

    def latest(self, name: str) -> dict[str, Json]:
        """The last value of every key of a topic; tombstones leave nothing."""
        at = name, threading.get_ident()
        if at not in self._latest:
            self._latest[at] = LatestValues(self.consumer(name, beginning=True))
        try:
            return self._latest[at].read()
        except kafka.errors.KafkaError:
            # The broker was away: another client reads all of it again.
            self._latest.pop(at).close()
            return self.latest(name)

    def forget_latest(self) -> None:
        """Read topics from their beginning again, as after one was made anew."""
        for one in self._latest.values():
            one.close()
        self._latest.clear()

    def dead_letters(self) -> dict[Position, Json]:
        """Dead letters by their position, with their headers and bytes.

        Of a range letter the first position alone, see `lettered`.
        """
        found = {}
        for record in self.records("dead-letters"):
            headers = {name: value.decode() for name, value in record.headers}
            at = (headers["topic"], int(headers["partition"]), int(headers["offset"]))
            found[at] = {**headers, "key": record.key, "value": record.value}
        return found

    def lettered(self, after: int = 0) -> list[Position]:
        """The positions of all records that have a dead letter, or stand in a range letter.

        So many of the first letters are left out.
        """
        found: list[Position] = []
        for record in itertools.islice(self.records("dead-letters"), after, None):
            found += letter_positions(record.headers, record.value)
        return found

    def last_counts(self) -> dict[str, list[int]]:
        """The counts of every post, in the order of kinds."""
        last = {record.key.decode(): record.value for record in self.records("counters")}
        return {p: counts_of(json.loads(value)) for p, value in last.items() if value}


def counts_of(state: Json) -> list[int]:
    """The events of each kind that were counted for a post, whoever they were of."""
    counts = state["counters"]["counts"]
    found = [*counts[: len(ENGAGEMENT_KINDS)]]
    for kind in COMPLAINTS:
        found[ENGAGEMENT_KINDS.index(kind)] += counts[KIND_INDEX[f"stranger {kind}"]]
    return found


def letter_positions(headers: Iterable[tuple[str, bytes]], value: bytes | None) -> list[Position]:
    """The positions of the records that a dead letter stands for."""
    texts = {name: text.decode() for name, text in headers}
    topic, partition = texts["topic"], int(texts["partition"])
    if "records" not in texts:
        return [(topic, partition, int(texts["offset"]))]
    ranges = json.loads(value or b"")["ranges"]
    offsets = (n for first, last in ranges for n in range(first, last + 1))
    return [(topic, partition, offset) for offset in offsets]
