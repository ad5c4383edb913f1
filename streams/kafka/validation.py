"""Decodes a fetched batch: valid records become events, the others are rejected one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar, cast

from feedmill.events.errors import BadEvent
from feedmill.events.partition import partitions_of
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition, columns_of

T = TypeVar("T")

_POSTS = "posts"
_created_at_ms = attrgetter("created_at_ms")

# How far a post's time may be ahead of its record's.  An engagement, which a reader's device may
# have timed, counts at its record's time instead.
_MOST_AHEAD_MS = 86_400_000

# A longer key breaks the limits of ids anyway; to hash it would slow the batch down.
_MAX_HASHED_KEY = 4096


@dataclass(frozen=True)
class RejectedRecord:
    """A record that breaks the contract; `reason` has the field, what is expected, the value."""

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
    if decode_many is not None:
        together = decode_together(batch, partitions, decode_many)
        if together is not None:
            return ValidatedBatch([*zip(batch.records, together, strict=True)], [])
    events: list[tuple[Record, T]] = []
    rejected = []
    # Made once, since columns make a new record each time.
    records = [*batch.records]
    are_posts = batch.source.topic == _POSTS
    for record, partition in zip(records, _expected(records, partitions), strict=True):
        try:
            event = decode(record.key, record.value)
            if partition != batch.source.partition:
                raise BadEvent(misplaced(partition, batch.source.partition))
            if are_posts:
                check_time(event, record.timestamp)
        except BadEvent as error:
            reason = reason_of(record.value, error)
            rejected.append(RejectedRecord(batch.source, record, reason))
        else:
            events.append((record, event))
    return ValidatedBatch(events, rejected)


def decode_together(
    batch: RecordBatch, partitions: int, decode_many: DecodeMany[T]
) -> Sequence[T] | None:
    """Return the events of a batch, as `validate_batch` finds them; None: ask that function.

    That is so if some record is rejected, or if none is there.
    """
    if not len(batch.records):
        return None
    columns = columns_of(batch.records)
    events = decode_many(columns.keys, columns.values)
    if events is None:
        return None
    # Every key is the id of its event, so none is missing or too long.
    keys = cast("Sequence[bytes]", columns.keys)
    is_misplaced = partitions_of(keys, partitions) != batch.source.partition
    if is_misplaced.any() or _is_ahead(batch.source.topic, events, columns.timestamps):
        return None
    return events


def check_time(event: object, record_ms: int) -> None:
    """Check the time of a post by that of its record; a deletion has none.

    Raises `BadEvent`: it is more than a day ahead.
    """
    at_ms = getattr(event, "created_at_ms", 0)
    if at_ms > record_ms + _MOST_AHEAD_MS:
        raise BadEvent(
            "Expected Unix time in milliseconds, at most a day after the record's timestamp"
            f" {record_ms}, got {at_ms} - at `$.created_at_ms`"
        )


def _is_ahead(topic: str, events: Sequence[object], timestamps: Sequence[int]) -> bool:
    """Return whether `check_time` refuses some of these posts; False for other events."""
    if topic != _POSTS:
        return False
    times = [*map(_created_at_ms, events)]
    # Most often no post is ahead even of the oldest record.
    if max(times) <= min(timestamps) + _MOST_AHEAD_MS:
        return False
    return any(t > at + _MOST_AHEAD_MS for t, at in zip(times, timestamps, strict=True))


def _expected(records: Sequence[Record], partitions: int) -> Sequence[int]:
    """Return the partition of each record's key."""
    keys = [record.key for record in records]
    expected: list[int] = partitions_of([*map(_hashed, keys)], partitions).tolist()
    return expected


def _hashed(key: bytes | None) -> bytes:
    return key if key is not None and len(key) < _MAX_HASHED_KEY else b""


def misplaced(partition: int, found: int) -> str:
    """Say that a record is in another partition than that of its key."""
    return (
        f"Expected partition {partition} for this key, got {found}: use the murmur2 "
        "partitioner of Kafka's Java client (librdkafka: partitioner=murmur2_random)"
    )


def last_of_each(events: list[tuple[Record, T]]) -> Iterator[tuple[Record, T]]:
    """The last event of each key, in the order of the batch; it supersedes the earlier ones."""
    last_index = {record.key: i for i, (record, _) in enumerate(events)}
    for i, (record, event) in enumerate(events):
        if last_index[record.key] == i:
            yield record, event
