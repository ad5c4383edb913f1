"""For commands: read a topic up to its end, and write single records.

There is no consumer group and nothing is committed, so a command leaves no trace but its records.
kafka-python says which offsets there are, and writes; librdkafka reads, as the worker does: it has
all codecs, and a bound for what a batch inflates to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition as KafkaPartition
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.batch_headers import BatchHeaders
from feedmill.streams.kafka.batches import Headers
from feedmill.streams.kafka.client import ClientHealth, WatchedConsumer, new_log_consumer
from feedmill.streams.kafka.messages import Most, fetch, is_out_of_range
from feedmill.streams.settings.environment import Environment

# Once it sends nothing for so long, a read to the end fails.
STALLED_S = 60.0
_CONNECT_MS = 5_000
_SEND_S = 30.0
# A setting ends with the marker of its transaction, and a command waits to hear that this is all.
_FETCH_WAIT_MS = 20
_MOST_RECORDS = 10_000
_MOST_BYTES = 4 * 1024 * 1024


class TopicRecord(NamedTuple):
    """A record of a topic; `at_ms` is its timestamp in Unix milliseconds."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    partition: int = 0
    headers: Headers = ()

    def header(self, name: str) -> str:
        """Return the text of a header, "" without it."""
        found = next((value for key, value in self.headers if key == name), b"")
        return found.decode("utf-8", "replace")

    @property
    def timestamp(self) -> int:
        """`at_ms`, as the worker's `Record` calls it."""
        return self.at_ms


class TopicReader:
    """Reads all partitions of a topic from a position on, read committed; made by `open_topic`.

    A batch that librdkafka does not inflate is one record, which no decoder takes: `PassedBatch`.
    """

    def __init__(
        self, offsets: KafkaConsumer, consumer: WatchedConsumer, headers: BatchHeaders
    ) -> None:
        self._offsets: Any = offsets
        self._partitions = list(offsets.assignment())
        self._consumer = consumer
        self._headers = headers
        # What is read next.
        self._positions: dict[int, int] = {}

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return len(self._partitions)

    def seek_to_beginning(self) -> None:
        """Go to the first records that are still there."""
        self._seek(self._offsets.beginning_offsets(self._partitions))

    def seek(self, partition: int, offset: int) -> None:
        """Go to an offset of the one partition that is read."""
        self._seek({TopicPartition(self._partitions[0].topic, partition): offset})

    def seek_to_time(self, at_ms: int) -> None:
        """Go to the first records with this timestamp or a later one, else to the end."""
        found = self._offsets.offsets_for_times(dict.fromkeys(self._partitions, at_ms))
        starts = self._offsets.end_offsets(self._partitions)
        for partition, first in found.items():
            if first is not None:
                starts[partition] = first.offset
        self._seek(starts)

    def _seek(self, starts: Mapping[TopicPartition, int]) -> None:
        self._positions = {at.partition: offset for at, offset in starts.items()}
        self._consumer.assign(
            [KafkaPartition(at.topic, at.partition, offset) for at, offset in starts.items()]
        )

    def read(self, timeout_ms: int) -> list[TopicRecord]:
        """The next records; waits at most `timeout_ms` for the first and may return none."""
        fetched = fetch(
            self._consumer,
            self._headers,
            Most(_MOST_RECORDS, _MOST_BYTES),
            wait_s=timeout_ms / 1000,
            keeps_headers=True,
        )
        if any(is_out_of_range(error) for _, error in fetched.errors):
            self._go_on_from_what_is_there()
        found = []
        for source, records in fetched.records.items():
            self._positions[source.partition] = records.offsets[-1] + 1
            headers = (fetched.headers or {}).get(source, {})
            found += [
                TopicRecord(
                    r.offset,
                    r.timestamp,
                    r.key,
                    r.value,
                    source.partition,
                    headers.get(r.offset, ()),
                )
                for r in records
            ]
        for source, end in fetched.ends.items():
            self._positions[source.partition] = max(end, self._positions[source.partition])
        return found

    def _go_on_from_what_is_there(self) -> None:
        """Leave out what was removed since it was asked where the topic begins."""
        firsts = self._offsets.beginning_offsets(self._partitions)
        self._seek({at: max(n, self._positions[at.partition]) for at, n in firsts.items()})

    def seek_before_end(self, count: int) -> None:
        """Go so many records back from the end of each partition, or to its first record."""
        ends = self._offsets.end_offsets(self._partitions)
        begins = self._offsets.beginning_offsets(self._partitions)
        self._seek({at: max(begin, ends[at] - count) for at, begin in begins.items()})

    def record_at(self, partition: int, offset: int) -> TopicRecord | None:
        """Return the record at an offset of a partition; None where it is gone."""
        at = next((one for one in self._partitions if one.partition == partition), None)
        if at is None or not (
            self._offsets.beginning_offsets([at])[at]
            <= offset
            < self._offsets.end_offsets([at])[at]
        ):
            return None
        self._seek({at: offset})
        found = next(self.read_to_end(), None)
        return found if found is not None and found.offset == offset else None

    def read_to_end(self, tell: Callable[[int, int], None] | None = None) -> Iterator[TopicRecord]:
        """All records up to the ends that the partitions have at the time of the call.

        `tell` is told after each fetch how many offsets lie behind it, and how many there are.

        Raises
        ------
        UsageError
            Kafka sent nothing for `STALLED_S`.
        """
        found = self._offsets.end_offsets(self._partitions)
        ends = {at.partition: end for at, end in found.items()}

        def count_left() -> int:
            return sum(max(0, ends[p] - position) for p, position in self._positions.items())

        total = before = count_left()
        heard_s = time.monotonic()
        while left := count_left():
            if tell is not None:
                tell(total - left, total)
            if left < before:
                before, heard_s = left, time.monotonic()
            elif time.monotonic() - heard_s > STALLED_S:
                topic = self._partitions[0].topic
                raise UsageError(
                    f"Kafka has sent nothing of `{topic}` for {STALLED_S:g} s, {total - left:,} of"
                    f" {total:,} offsets are read; look whether its brokers run (`feedmill doctor`)"
                    " and run the command again"
                )
            yield from self.read(timeout_ms=200)


@contextmanager
def open_topic(
    environment: Environment, topic: str, partition: int | None = None
) -> Iterator[TopicReader]:
    """Open a reader of a topic, named without the prefix, or of one of its partitions.

    Raises
    ------
    UsageError
        There is no such topic.
    kafka.errors.KafkaError
        Kafka cannot be reached.
    """
    name = environment.topic(topic)
    offsets = KafkaConsumer(
        **_settings(environment), enable_auto_commit=False, isolation_level="read_committed"
    )
    try:
        partitions = offsets.partitions_for_topic(name) if name in offsets.topics() else None
        if not partitions:
            raise _no_topic(environment, name)
        chosen = sorted(partitions) if partition is None else [partition]
        offsets.assign([TopicPartition(name, one) for one in chosen])
        health = ClientHealth()
        consumer = new_log_consumer(environment, health, fetch_wait_ms=_FETCH_WAIT_MS)
        headers = BatchHeaders(environment, health)
        try:
            yield TopicReader(offsets, consumer, headers)
        finally:
            consumer.close()
            headers.close()
    finally:
        offsets.close()


def count_partitions(environment: Environment, topics: Sequence[str]) -> dict[str, int]:
    """Return of topics, named without the prefix, how many partitions each has.

    Raises what `open_topic` raises.
    """
    client = KafkaConsumer(**_settings(environment))
    try:
        there, found = client.topics(), {}
        for topic in topics:
            name = environment.topic(topic)
            partitions = client.partitions_for_topic(name) if name in there else None
            if not partitions:
                raise _no_topic(environment, name)
            found[topic] = len(partitions)
        return found
    finally:
        client.close()


def records_after(environment: Environment, offsets: Mapping[str, Mapping[int, int]]) -> int:
    """Return how many records of topics have these offsets by partition, 0 where none, or later.

    Raises what `open_topic` raises.
    """
    counts = count_partitions(environment, list(offsets))
    starts = {
        TopicPartition(environment.topic(topic), partition): offsets[topic].get(partition, 0)
        for topic, count in counts.items()
        for partition in range(count)
    }
    client = KafkaConsumer(**_settings(environment))
    try:
        firsts, ends = client.beginning_offsets([*starts]), client.end_offsets([*starts])
    finally:
        client.close()
    return sum(max(0, ends[at] - max(start, firsts[at])) for at, start in starts.items())


def _no_topic(environment: Environment, name: str) -> UsageError:
    return UsageError(
        f"Kafka at {environment.kafka} has no topic `{name}`; create the topics with"
        " `feedmill topics create`, or give the right --kafka and --prefix"
    )


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
