"""Reads topics up to their ends, and writes single records, for commands.

No consumer group is used and nothing is committed, so a command leaves no trace but its records.
kafka-python gives offsets and writes; librdkafka reads, as the worker does, since it has all codecs
and a bound for inflated batches.  kafka-python's admin client gives the offsets: its consumer would
wait 100 ms before it asks for metadata a second time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition as KafkaPartition
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import OffsetSpec

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import BatchHeaders
from feedmill.streams.kafka.batches import Headers
from feedmill.streams.kafka.client import (
    COMMAND_FETCH_WAIT_MS,
    ClientHealth,
    WatchedConsumer,
    new_log_consumer,
)
from feedmill.streams.kafka.messages import Most, fetch, is_out_of_range

# A read to the end fails once Kafka has sent nothing for so long.
STALLED_S = 60.0
_CONNECT_MS = 5_000
_SEND_S = 30.0
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

    A batch that librdkafka does not inflate comes as one record, a `PassedBatch`.
    """

    def __init__(self, environment: Environment, offsets: _Offsets) -> None:
        self._offsets = offsets
        self._partitions = offsets.partitions
        health = ClientHealth()
        self._new_consumer = partial(
            new_log_consumer, environment, health, fetch_wait_ms=COMMAND_FETCH_WAIT_MS
        )
        # Made for the first read, since a consumer without partitions sleeps for up to a second.
        self._consumer: WatchedConsumer | None = None
        self._headers = BatchHeaders(environment, health)
        # The next offset of each partition.
        self._positions: dict[int, int] = {}

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return len(self._partitions)

    def seek_to_beginning(self) -> None:
        """Go to the first records that are still there."""
        self._seek(self._offsets.firsts())

    def seek(self, partition: int, offset: int) -> None:
        """Go to an offset of the one partition that is read."""
        self._seek({TopicPartition(self._partitions[0].topic, partition): offset})

    def seek_to_time(self, at_ms: int) -> None:
        """Go to the first records with this timestamp or a later one, else to the end."""
        found, ends = self._offsets.at(at_ms), self._offsets.ends()
        self._seek({at: ends[at] if first < 0 else first for at, first in found.items()})

    def _seek(self, starts: Mapping[TopicPartition, int]) -> None:
        self._positions = {at.partition: offset for at, offset in starts.items()}
        self._consumer = self._consumer or self._new_consumer()
        self._consumer.assign(
            [KafkaPartition(at.topic, at.partition, offset) for at, offset in starts.items()]
        )

    def read(self, timeout_ms: int) -> list[TopicRecord]:
        """The next records; waits at most `timeout_ms` for the first and may return none."""
        if self._consumer is None:
            return []  # nobody said from where on
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
        """Leave out records that were removed since Kafka said where the topic begins."""
        firsts = self._offsets.firsts()
        self._seek({at: max(n, self._positions[at.partition]) for at, n in firsts.items()})

    def seek_before_end(self, count: int) -> None:
        """Go so many records back from the end of each partition, or to its first record."""
        ends = self._offsets.ends()
        begins = self._offsets.firsts()
        self._seek({at: max(begin, ends[at] - count) for at, begin in begins.items()})

    def record_at(self, partition: int, offset: int) -> TopicRecord | None:
        """Return the record at an offset of a partition; None where it is gone."""
        at = next((place for place in self._partitions if place.partition == partition), None)
        if at is None or not self._offsets.firsts()[at] <= offset < self._offsets.ends()[at]:
            return None
        self._seek({at: offset})
        found = next(self.read_to_end(), None)
        return found if found is not None and found.offset == offset else None

    def read_to_end(self, tell: Callable[[int, int], None] | None = None) -> Iterator[TopicRecord]:
        """All records up to the ends that the partitions have at the time of the call.

        After each fetch `tell` gets how many offsets were read, and how many there are.

        Raises `UsageError`: Kafka sent nothing for `STALLED_S`.
        """
        found = self._offsets.ends()
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

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            self._consumer.close()
        self._headers.close()


class _Offsets:
    """The partitions of some topics, and which offsets they have, read committed."""

    def __init__(self, admin: Any, partitions: Sequence[TopicPartition]) -> None:
        self._admin = admin
        self.partitions = list(partitions)

    def firsts(self) -> dict[TopicPartition, int]:
        """Return the offsets of the first records that are still there."""
        return self.at(OffsetSpec.EARLIEST)

    def ends(self) -> dict[TopicPartition, int]:
        """Return the offsets after the last records."""
        return self.at(OffsetSpec.LATEST)

    def at(self, at_ms: int) -> dict[TopicPartition, int]:
        """Return the offsets of the first records of this time or later, below 0 where none is."""
        asked = dict.fromkeys(self.partitions, at_ms)
        found = self._admin.list_partition_offsets(asked, isolation_level="read_committed")
        return {at: int(answer.offset) for at, answer in found.items()}


@contextmanager
def _open_offsets(environment: Environment, topics: Sequence[str]) -> Iterator[_Offsets]:
    """Raises what `open_topic` raises."""
    admin: Any = KafkaAdminClient(**_settings(environment))
    try:
        # All topics, since to ask for a missing topic by name may create it.
        there = {topic["name"]: topic["partitions"] for topic in admin.describe_topics()}
        partitions = []
        for name in map(environment.topic, topics):
            if not there.get(name):
                raise _no_topic(environment, name)
            numbers = sorted(partition["partition_index"] for partition in there[name])
            partitions += [TopicPartition(name, number) for number in numbers]
        yield _Offsets(admin, partitions)
    finally:
        admin.close()


@contextmanager
def open_topic(
    environment: Environment, topic: str, partition: int | None = None
) -> Iterator[TopicReader]:
    """Open a reader of a topic, named without the prefix, or of one of its partitions.

    Raises
    ------
    UsageError
        There is no such topic, or no such partition.
    kafka.errors.KafkaError
        Kafka cannot be reached.
    """
    with _open_offsets(environment, [topic]) as offsets:
        if partition is not None:
            at = TopicPartition(environment.topic(topic), partition)
            if at not in offsets.partitions:
                raise UsageError(f"`{at.topic}` has no partition {partition}")
            offsets.partitions = [at]
        with closing(TopicReader(environment, offsets)) as reader:
            yield reader


def count_partitions(environment: Environment, topics: Sequence[str]) -> dict[str, int]:
    """Return how many partitions each topic has; topics are named without the prefix.

    Raises what `open_topic` raises.
    """
    with _open_offsets(environment, topics) as offsets:
        counts = Counter(at.topic for at in offsets.partitions)
        return {topic: counts[environment.topic(topic)] for topic in topics}


def records_after(environment: Environment, offsets: Mapping[str, Mapping[int, int]]) -> int:
    """Return how many records of topics have these offsets by partition, 0 where none, or later.

    Raises what `open_topic` raises.
    """
    named = {environment.topic(topic): starts for topic, starts in offsets.items()}
    with _open_offsets(environment, [*offsets]) as found:
        firsts, ends = found.firsts(), found.ends()
    starts = {at: named[at.topic].get(at.partition, 0) for at in ends}
    return sum(max(0, end - max(starts[at], firsts[at])) for at, end in ends.items())


def _no_topic(environment: Environment, name: str) -> UsageError:
    if environment.security:
        return UsageError(
            f"Kafka at {environment.kafka} shows the user {environment.user} no topic `{name}`: it"
            " does not exist, or this user has no right to it; `feedmill acls print` says what each"
            " role needs"
        )
    return UsageError(
        f"Kafka at {environment.kafka} has no topic `{name}`; create the topics with"
        " `feedmill topics create`, or give the right --kafka and --prefix"
    )


def read_all(
    environment: Environment,
    topic: str,
    tell: Callable[[int, int], None] | None = None,
    since_ms: int = 0,
) -> Iterator[TopicRecord]:
    """Read a topic, or what came since then, by partition; raises what `open_topic` raises."""
    with open_topic(environment, topic) as reader:
        reader.seek_to_time(since_ms) if since_ms else reader.seek_to_beginning()
        yield from reader.read_to_end(tell)


class SentRecord(NamedTuple):
    """Where a record stands, and when the broker stored it, Unix milliseconds."""

    offset: int
    at_ms: int


def send(environment: Environment, topic: str, key: bytes, value: bytes | None) -> SentRecord:
    """Write one record to partition 0 and return once all replicas have it."""
    producer = KafkaProducer(**_settings(environment), enable_idempotence=True, acks="all")
    try:
        topic = environment.topic(topic)
        future = producer.send(topic, key=key, value=value, partition=0)
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
