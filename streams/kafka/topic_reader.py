"""For commands: read a topic up to its end, and write single records, by kafka-python.

There is no consumer group and nothing is committed, so a command leaves no trace but its records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from feedmill.events.errors import UsageError
from feedmill.streams.settings.environment import Environment

_CONNECT_MS = 5_000
_SEND_S = 30.0
_MAX_FETCH_BYTES = 4 * 1024 * 1024


class TopicRecord(NamedTuple):
    """A record of a topic; `at_ms` is its timestamp in Unix milliseconds."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    partition: int = 0

    @property
    def timestamp(self) -> int:
        """`at_ms`, as the worker's `Record` calls it."""
        return self.at_ms


class TopicReader:
    """Reads all partitions of a topic from a position on, read committed; made by `open_topic`."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer: Any = consumer
        self._partitions = list(consumer.assignment())

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return len(self._partitions)

    def seek_to_beginning(self) -> None:
        """Go to the first records that are still there."""
        self._consumer.seek_to_beginning(*self._partitions)

    def seek_to_time(self, at_ms: int) -> None:
        """Go to the first records with this timestamp or a later one, else to the end."""
        found = self._consumer.offsets_for_times(dict.fromkeys(self._partitions, at_ms))
        ends = self._consumer.end_offsets(self._partitions)
        for partition in self._partitions:
            first = found.get(partition)
            self._consumer.seek(partition, ends[partition] if first is None else first.offset)

    def read(self, timeout_ms: int) -> list[TopicRecord]:
        """The next records; waits at most `timeout_ms` for the first and may return none."""
        fetched = self._consumer.poll(timeout_ms=timeout_ms)
        return [
            TopicRecord(
                record.offset, record.timestamp, record.key, record.value, partition.partition
            )
            for partition, records in fetched.items()
            for record in records
        ]

    def seek_before_end(self, count: int) -> None:
        """Go so many records back from the end of each partition, or to its first record."""
        ends = self._consumer.end_offsets(self._partitions)
        for partition, begin in self._consumer.beginning_offsets(self._partitions).items():
            self._consumer.seek(partition, max(begin, ends[partition] - count))

    def record_at(self, partition: int, offset: int) -> TopicRecord | None:
        """Return the record at an offset of a partition; None where it is gone."""
        at = next((one for one in self._partitions if one.partition == partition), None)
        begins, ends = (
            {} if at is None else find([at])
            for find in (self._consumer.beginning_offsets, self._consumer.end_offsets)
        )
        if at is None or not begins[at] <= offset < ends[at]:
            return None
        self._consumer.assign([at])
        self._consumer.seek(at, offset)
        found = next(self.read_to_end(), None)
        return found if found is not None and found.offset == offset else None

    def read_to_end(self, tell: Callable[[int, int], None] | None = None) -> Iterator[TopicRecord]:
        """All records up to the ends that the partitions have at the time of the call.

        `tell` is told after each fetch how many offsets lie behind it, and how many there are.
        """
        ends = self._consumer.end_offsets(list(self._consumer.assignment()))
        begins = {at: self._consumer.position(at) for at in ends}
        total = sum(max(0, end - begins[at]) for at, end in ends.items())
        while left := sum(max(0, end - self._consumer.position(at)) for at, end in ends.items()):
            if tell is not None:
                tell(total - left, total)
            yield from self.read(timeout_ms=200)


@contextmanager
def open_topic(environment: Environment, topic: str) -> Iterator[TopicReader]:
    """Open a reader of a topic, named without the prefix.

    Raises
    ------
    UsageError
        There is no such topic.
    kafka.errors.KafkaError
        Kafka cannot be reached.
    """
    name = environment.topic(topic)
    consumer = KafkaConsumer(
        **_settings(environment),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_MAX_FETCH_BYTES,
        max_poll_records=10_000,
        # In Python it takes a second a megabyte.
        check_crcs=False,
    )
    try:
        partitions = consumer.partitions_for_topic(name) if name in consumer.topics() else None
        if not partitions:
            raise UsageError(
                f"Kafka at {environment.kafka} has no topic `{name}`; create the topics with"
                " `feedmill topics create`, or give the right --kafka and --prefix"
            )
        consumer.assign([TopicPartition(name, partition) for partition in sorted(partitions)])
        yield TopicReader(consumer)
    finally:
        consumer.close()


def read_all(
    environment: Environment, topic: str, tell: Callable[[int, int], None] | None = None
) -> Iterator[TopicRecord]:
    """Read a whole topic, partition by partition in order; raises what `open_topic` raises."""
    with open_topic(environment, topic) as reader:
        reader.seek_to_beginning()
        yield from reader.read_to_end(tell)


class SentRecord(NamedTuple):
    """Where a record stands, and when the broker stored it, Unix milliseconds."""

    offset: int
    at_ms: int


def send(
    environment: Environment,
    topic: str,
    key: bytes,
    value: bytes | None,
    headers: Mapping[str, str] | None = None,
) -> SentRecord:
    """Write one record to partition 0 and return once all replicas have it."""
    texts = [(name, text.encode()) for name, text in (headers or {}).items() if text]
    producer = KafkaProducer(**_settings(environment), enable_idempotence=True, acks="all")
    try:
        topic = environment.topic(topic)
        future = producer.send(topic, key=key, value=value, partition=0, headers=texts)
        stored = future.get(_SEND_S)
        return SentRecord(int(stored.offset), int(stored.timestamp))
    finally:
        producer.close(timeout=_SEND_S)


def _settings(environment: Environment) -> dict[str, Any]:
    return {
        "bootstrap_servers": environment.kafka.split(","),
        "bootstrap_timeout_ms": _CONNECT_MS,
        **environment.security,
    }
