"""The unit of work: the records that one fetch brought of one partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec


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

    `epoch` counts assignments: a batch of an older one than the stage's is stale, its
    partition may be another's by now.  `is_append_time` tells whether the timestamps are the
    broker's (LogAppendTime) or the producer's (CreateTime), by the first record.
    """

    source: TopicPartition
    records: Sequence[Record]
    epoch: int = 0
    is_append_time: bool = True

    @property
    def end(self) -> int:
        """The offset to commit once all of it is dealt with."""
        return self.records[-1].offset + 1


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that this process copied out of the client: the `Record` of the worker."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
