"""Range letters: dead letters of many records at once, by offsets, without their keys and values.

Bad records beyond the rate of dead letters share one for each partition, and so do all records of a
compressed batch that no client can read.  `dead-letters replay` reads them where they stand.
Who makes one needs `RangeLetter` and `encode_range_letter` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.dead_letters import MAX_REASON, DeadLetter

# The header that tells a range letter from others: how many records it stands for.
RECORDS_HEADER = "records"
# More make several letters: each stays well below what a record of the topic may take.
MAX_RANGES = 10_000
MAX_REASONS = 10


class OffsetRange(NamedTuple):
    """Bad records that follow each other: all offsets from `first` to `last`, both included."""

    first: int
    last: int


class RangeReason(msgspec.Struct, frozen=True):
    """Why the record at an offset was rejected."""

    offset: int
    error: str


class RangeLetter(msgspec.Struct, frozen=True):
    """What a range letter says; its value is this as JSON.

    Attributes
    ----------
    topic, partition
        Where the records stand; `topic` is without the prefix.
    records
        How many they are: of a batch by its header, else every offset of the ranges is one.
    ranges
        Their offsets, rising, at most `MAX_RANGES`.
    reasons
        Why some of them were rejected, the first of each kind, at most `MAX_REASONS`; never empty.
    """

    topic: str
    partition: int
    records: int
    ranges: tuple[OffsetRange, ...]
    reasons: tuple[RangeReason, ...]


_DECODER = msgspec.json.Decoder(RangeLetter)


def encode_range_letter(letter: RangeLetter, stage: str, at_ms: int) -> DeadLetter:
    """Make the record of a range letter that `stage` writes.

    Its headers are those of any dead letter, of the first record and reason, and `records`.
    """
    headers: dict[str, object] = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.ranges[0].first,
        "stage": stage,
        "at_ms": at_ms,
        "error": letter.reasons[0].error[:MAX_REASON],
        RECORDS_HEADER: letter.records,
    }
    texts = [(name, str(text).encode()) for name, text in headers.items()]
    return DeadLetter(None, msgspec.json.encode(letter), texts)


def decode_range_letter(value: bytes | None) -> RangeLetter:
    """Read the value of a range letter.

    Raises
    ------
    ValueError
        It is none.
    """
    letter = _DECODER.decode(value or b"")
    if not letter.ranges or not letter.reasons:
        raise ValueError("Expected `ranges` and `reasons` with an entry at least")
    return letter


def split_ranges(
    source: TopicPartition, ranges: Sequence[OffsetRange], reasons: Sequence[RangeReason]
) -> Iterator[RangeLetter]:
    """Make the range letters of a partition's bad records, every offset of the ranges one."""
    told = tuple(reasons[:MAX_REASONS])
    for begin in range(0, len(ranges), MAX_RANGES):
        some = tuple(ranges[begin : begin + MAX_RANGES])
        count = sum(last - first + 1 for first, last in some)
        yield RangeLetter(source.topic, source.partition, count, some, told)
