"""Kafka records as a consumer hands them out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from builders.events import NOW_MS
from feedmill.events.decode import encode
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition


@dataclass(slots=True)
class StoredRecord:
    """A record of one partition; the timestamp is Unix milliseconds."""

    offset: int = 0
    timestamp: int = NOW_MS
    key: bytes | None = b"k"
    value: bytes | None = b"v"


def record(key: str, value: Any, *, offset: int = 0, timestamp: int = NOW_MS) -> StoredRecord:
    """Return the record of an event, None for a tombstone."""
    content = None if value is None else encode(value)
    return StoredRecord(offset, timestamp, key.encode(), content)


def record_batch(topic: str, records: Iterable[StoredRecord], *, partition: int = 0) -> RecordBatch:
    """Return what one fetch brings of one partition."""
    return RecordBatch(TopicPartition(topic, partition), list(records))
