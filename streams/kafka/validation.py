"""From a fetched batch to events: what breaks the contract is set apart, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from feedmill.events.errors import BadEvent
from feedmill.events.partition import partitions_of
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition

T = TypeVar("T")

# Any key this long breaks the limits of ids; hashed beside others it would cost its length each.
_LONGEST_KEY = 4096


@dataclass(frozen=True)
class RejectedRecord:
    """A record that breaks the contract, and why."""

    source: TopicPartition
    record: Record
    reason: str


@dataclass(frozen=True)
class ValidatedBatch(Generic[T]):
    """The events of a batch, each with its record, and what was rejected."""

    events: list[tuple[Record, T]]
    rejected: list[RejectedRecord]


def validate_batch(
    batch: RecordBatch, partitions: int, decode: Callable[[bytes | None, bytes | None], T]
) -> ValidatedBatch[T]:
    """Decode a batch; `decode` raises `BadEvent`, `partitions` is how many the topic has."""
    events: list[tuple[Record, T]] = []
    rejected = []
    keys = [record.key or b"" for record in batch.records]
    right = partitions_of([key if len(key) < _LONGEST_KEY else b"" for key in keys], partitions)
    for record, partition in zip(batch.records, right.tolist(), strict=True):
        try:
            event = decode(record.key, record.value)
            if partition != batch.source.partition:
                raise BadEvent(_misplaced(partition, batch.source))
        except BadEvent as error:
            rejected.append(RejectedRecord(batch.source, record, str(error)))
        else:
            events.append((record, event))
    return ValidatedBatch(events, rejected)


def _misplaced(partition: int, source: TopicPartition) -> str:
    return (
        f"Expected partition {partition} for this key, got {source.partition}: use the murmur2 "
        "partitioner of Kafka's Java client (librdkafka: partitioner=murmur2_random)"
    )


def last_of_each(events: list[tuple[Record, T]]) -> Iterator[tuple[Record, T]]:
    """The last event of each key, in order; what it superseded within a batch needs no judging."""
    last = {record.key: i for i, (record, _) in enumerate(events)}
    for i, (record, event) in enumerate(events):
        if last[record.key] == i:
            yield record, event
