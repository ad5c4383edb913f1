"""Records of one partition as one fetch brought them, and records on their way to Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, overload

import msgspec

# How many bytes of posts a cycle takes at most, so that their texts take a fraction of a second.
TEXT_BYTES = 1024 * 1024
# What a record of a batch takes in memory beside its key and value.
RECORD_BYTES = 200


Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """A record as the consumer hands it out; timestamps are Unix milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class TopicPartition(NamedTuple):
    """A partition; `topic` is without the prefix."""

    topic: str
    partition: int


class RecordBatch(NamedTuple):
    """Records of one partition, in the order of their offsets, never empty.

    `is_append_time` tells whether the timestamps are the broker's (LogAppendTime) or the
    producer's (CreateTime), by the first record.
    """

    source: TopicPartition
    records: Sequence[Record]
    is_append_time: bool = True

    @property
    def end(self) -> int:
        """The offset to commit once all records are dealt with."""
        return self.records[-1].offset + 1


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that was copied out of the client."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class FetchedRecords(Sequence[FetchedRecord]):
    """Records as columns, in the order of their offsets; a record is made when it is asked for.

    Attributes
    ----------
    offsets, timestamps, keys, values
        One entry a record; the fields of `FetchedRecord`.
    """

    __slots__ = ("keys", "offsets", "timestamps", "values")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, at: int) -> FetchedRecord: ...
    @overload
    def __getitem__(self, at: slice) -> list[FetchedRecord]: ...
    def __getitem__(self, at: int | slice) -> FetchedRecord | list[FetchedRecord]:
        if isinstance(at, slice):
            return [*self][at]
        return FetchedRecord(self.offsets[at], self.timestamps[at], self.keys[at], self.values[at])

    def __iter__(self) -> Iterator[FetchedRecord]:
        return map(FetchedRecord, self.offsets, self.timestamps, self.keys, self.values)

    def since(self, offset: int) -> FetchedRecords:
        """Return the records from an offset on."""
        return columns_of([record for record in self if record.offset >= offset])

    def extend(self, records: FetchedRecords) -> None:
        """Append records that follow these."""
        for column in self.__slots__:
            getattr(self, column).extend(getattr(records, column))

    def cut(self, count: int) -> tuple[FetchedRecords, FetchedRecords]:
        """Return the first `count` records, and the rest."""
        first, others = FetchedRecords(), FetchedRecords()
        for column in self.__slots__:
            values = getattr(self, column)
            setattr(first, column, values[:count])
            setattr(others, column, values[count:])
        return first, others


def columns_of(records: Sequence[Record]) -> FetchedRecords:
    """Return the columns of records."""
    if isinstance(records, FetchedRecords):
        return records
    columns = FetchedRecords()
    columns.offsets = [record.offset for record in records]
    columns.timestamps = [record.timestamp for record in records]
    columns.keys = [record.key for record in records]
    columns.values = [record.value for record in records]
    return columns


def record_bytes(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> int:
    """Return what records take as columns of a batch."""
    texts = sum(map(len, filter(None, keys))) + sum(map(len, filter(None, values)))
    return texts + RECORD_BYTES * len(keys)


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record to write, on behalf of the partition of `posts` or the shard `owner`."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    owner: TopicPartition
    headers: Headers = ()
