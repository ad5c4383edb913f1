"""What a rebalance changed, as one event that the group consumer hands down.

Behind each assignment Kafka is asked where partitions begin, end and were committed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.backlog import Backlog, Together
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import Bounds, CommitMark, Committed, Offsets, decode_mark
from feedmill.streams.kafka.read_progress import ReadProgress
from feedmill.streams.kafka.topic_ids import command_of
from feedmill.streams.settings.environment import Environment


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


class PartitionOffsets:
    """Of one partition: its log from `first` to `end`, where to start, and the last commit."""

    __slots__ = ("end", "first", "mark", "start")

    def __init__(self, bounds: Bounds, committed: Committed | None) -> None:
        self.first, self.end = bounds
        self.start = bounds.first if committed is None else committed.offset
        self.mark = CommitMark() if committed is None else decode_mark(committed.text)


class OffsetQuestions:
    """Asks for the bounds and the committed offsets of partitions; nothing waits."""

    def __init__(self, offsets: Offsets, group: str, sources: Sequence[TopicPartition]) -> None:
        self._sources = sources
        self._committed = offsets.committed(group, sources)
        self._bounds = offsets.bounds(sources)

    def done(self) -> bool:
        """Whether both are answered."""
        return self._committed.done() and self._bounds.done()

    def result(self) -> dict[TopicPartition, PartitionOffsets]:
        """Return the answers.

        Raises
        ------
        KafkaException
            Kafka refused one of the questions.
        """
        committed, bounds = self._committed.result(), self._bounds.result()
        return {at: PartitionOffsets(bounds[at], committed.get(at)) for at in self._sources}


@dataclass
class Membership:
    """How far it is with the partitions that the group gives: asked for, and answered."""

    phase: Literal["outside", "waiting", "settling", "settled"] = "waiting"
    since: float = field(default_factory=time.monotonic)
    granted: frozenset[int] = frozenset()
    shards: frozenset[int] = frozenset()
    asked: OffsetQuestions | None = None


@dataclass
class Reading:
    """What is read of an assignment, until its partitions go.

    `begun` and `beside` are partitions of `posts` and of the topics beside it; `snapshot` are the
    positions as they were handed out, until one moves.
    """

    positions: dict[TopicPartition, int] = field(default_factory=dict)
    snapshot: dict[TopicPartition, int] | None = None
    begun: set[int] = field(default_factory=set)
    beside: set[int] = field(default_factory=set)
    backlog: Backlog | None = None
    together: Together = field(default_factory=Together)
    progress: ReadProgress = field(default_factory=ReadProgress)
    stopped: dict[TopicPartition, str] = field(default_factory=dict)

    def begun_of(self, topic: str) -> set[int]:
        """Return the partitions of a topic that are read."""
        return self.begun if topic == "posts" else self.beside

    def halt(self) -> None:
        """Read nothing more; the positions stay."""
        self.begun, self.beside, self.backlog = set(), set(), None


def untouched(
    partitions: Iterable[int],
    topics: Sequence[str],
    offsets: Mapping[TopicPartition, PartitionOffsets],
    clean: Mapping[TopicPartition, int],
    owner: str,
) -> frozenset[int]:
    """Return those whose last commit is this owner's own, made when they were revoked.

    `clean` are the positions that were committed then.
    """
    found = set()
    for partition in partitions:
        at = [TopicPartition(topic, partition) for topic in topics]
        if all(
            clean.get(one) == offsets[one].start and offsets[one].mark.by == owner for one in at
        ):
            found.add(partition)
    return frozenset(found)


def assignment_change(
    epoch: int,
    before: Collection[int],
    mine: Collection[int],
    kept: Collection[int],
    shards: frozenset[int],
    offsets: Mapping[TopicPartition, PartitionOffsets],
) -> AssignmentChange:
    """Return what an assignment changes: `before` was owned, `mine` is, `kept` is as it was."""
    return AssignmentChange(
        epoch=epoch,
        gained=tuple(sorted(set(mine) - set(kept))),
        lost=tuple(sorted(set(before) - set(kept))),
        kept=tuple(sorted(kept)),
        shards=shards,
        starts={at: found.start for at, found in offsets.items()},
        ends={at: found.end for at, found in offsets.items()},
        notes={p: offsets[TopicPartition("posts", p)].mark.notes for p in mine},
    )


def another_joined(instance: str) -> UsageError:
    """What ends a worker when another one has its name."""
    return UsageError(
        f"another process joined as instance `{instance}`: give each worker a FEEDMILL_INSTANCE of"
        " its own"
    )


def out_of_range(
    environment: Environment,
    group: str,
    source: TopicPartition,
    offset: int | None,
    found: str,
    *,
    is_beyond: bool,
) -> str:
    """Say that an offset is not in the log, and what an operator may do.

    `found` is what the log has, or what the client says; `is_beyond` if it ends before the offset.
    """
    topic = environment.topic(source.topic)
    why, to = "records that were not read are gone", "earliest"
    if is_beyond:
        why, to = "the log was cut off, and records that were read are gone", "latest"
    words = f"groups reset-offsets {group} {source.topic}:{source.partition} --to {to}"
    return (
        f"offset {offset} of {topic}[{source.partition}] is out of range ({found}): {why}. To go"
        f" on from what is there, stop all workers, then: {command_of(environment, words)}"
    )
