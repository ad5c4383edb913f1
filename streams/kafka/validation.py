"""Decodes a fetched batch: valid records become events, the others are rejected one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from feedmill.events.errors import BadEvent
from feedmill.events.partition import partitions_of
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition

T = TypeVar("T")

# Fewer are decoded one by one in no more time.
_MANY_FROM = 8
# A longer key breaks the limits of ids in any case; to hash it would slow down the whole batch.
_MAX_HASHED_KEY = 4096


@dataclass(frozen=True)
class RejectedRecord:
    """A record that breaks the contract; `reason` has the field, what is expected, what came."""

    source: TopicPartition
    record: Record
    reason: str


@dataclass(frozen=True)
class ValidatedBatch(Generic[T]):
    """The events of a batch, each with its record, and the rejected records, in their order."""

    events: list[tuple[Record, T]]
    rejected: list[RejectedRecord]


DecodeMany = Callable[[Sequence[bytes | None], Sequence[bytes | None]], Sequence[T] | None]


def validate_batch(
    batch: RecordBatch,
    partitions: int,
    decode: Callable[[bytes | None, bytes | None], T],
    decode_many: DecodeMany[T] | None = None,
) -> ValidatedBatch[T]:
    """Decode each record of a batch and check that it is in the partition of its key.

    The topic has so many `partitions`. `decode` makes an event of a key and a value; it raises
    `BadEvent` to reject the record.  `decode_many` makes the events of many keys and values, or
    None if they are to be decoded one by one.
    """
    events: list[tuple[Record, T]] = []
    rejected = []
    keys = [record.key or b"" for record in batch.records]
    expected = partitions_of(
        [key if len(key) < _MAX_HASHED_KEY else b"" for key in keys], partitions
    )
    if decode_many is not None and len(keys) >= _MANY_FROM:
        found = decode_many(keys, [record.value for record in batch.records])
        if found is not None and (expected == batch.source.partition).all():
            return ValidatedBatch([*zip(batch.records, found, strict=True)], [])
    for record, partition in zip(batch.records, expected.tolist(), strict=True):
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
    """The last event of each key, in the order of the batch; it supersedes the earlier ones."""
    last_index = {record.key: i for i, (record, _) in enumerate(events)}
    for i, (record, event) in enumerate(events):
        if last_index[record.key] == i:
            yield record, event
