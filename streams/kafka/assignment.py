"""What a rebalance changed, as one event that the group consumer hands down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from feedmill.events.reasons import DECODE_ERRORS
from feedmill.streams.kafka.batches import TopicPartition


@dataclass(frozen=True)
class AssignmentChange:
    """The partitions of a worker after a rebalance; partition p means p of every topic.

    Attributes
    ----------
    epoch
        Counts the changes of this process; a `RecordBatch` of an older one is stale.
    gained
        Partitions whose state must be restored: what this process kept of them is not valid.
    lost
        Partitions whose state must be dropped.  A partition that another worker may have had
        in between stands in `lost` and in `gained`: drop first, then restore.
    kept
        Partitions that nobody else had since the last commit: their state goes on.
    shards
        All partitions of `feed-shards` that are this worker's now.
    starts
        The offset each input partition is read from: the committed one, else the beginning.
    ends
        The high watermark of each input partition when the assignment was settled.
    notes
        By partition what steps committed beside the offsets, by the name of the note.
    """

    epoch: int
    gained: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    shards: frozenset[int] = frozenset()
    starts: Mapping[TopicPartition, int] = field(default_factory=dict)
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)
    notes: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    @property
    def owned(self) -> tuple[int, ...]:
        """All partitions of this worker now, in order."""
        return tuple(sorted((*self.gained, *self.kept)))


class CommitMark(msgspec.Struct, frozen=True):
    """What a transaction writes beside an offset: who committed, the how-manieth time, notes.

    `topics` has the ids of topics by their names, see `TopicIds`.
    """

    by: str = ""
    number: int = 0
    notes: dict[str, str] = {}
    topics: dict[str, str] = {}


_decode = msgspec.json.Decoder(CommitMark).decode


def encode_mark(mark: CommitMark) -> str:
    """Return the text that stands beside an offset."""
    return msgspec.json.encode(mark).decode()


def decode_mark(text: str) -> CommitMark:
    """Read what stands beside an offset; an empty mark where it is not one of ours."""
    try:
        return _decode(text)
    except DECODE_ERRORS:
        return CommitMark()
