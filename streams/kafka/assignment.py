"""What a rebalance changed: one `AssignmentChange`, which the group consumer hands out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.backlog import Backlog, Together
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import PartitionOffsets
from feedmill.streams.kafka.read_progress import ReadProgress
from feedmill.streams.kafka.topic_ids import command_of

# The topics whose partitions move with a rebalance.
POSTS, ENGAGEMENTS, SHARDS = "posts", "engagements", "feed-shards"


@dataclass(frozen=True)
class AssignmentChange:
    """The partitions and the shards of feeds of a worker after a rebalance.

    Partition p means p of `posts` and of the topics beside it; a judge has these.  Shard s is
    partition s of `feed-shards`; a ranker has these.

    Attributes
    ----------
    epoch
        Counts the changes of this process.
    gained
        Partitions whose state must be restored: what this process kept of them is not valid.
    lost
        Partitions whose state must be dropped.  A partition that another worker may have had
        in between stands in `lost` and in `gained`: drop first, then restore.
    kept
        Partitions that nobody else had since the last commit: their state goes on.
    shards_gained, shards_lost, shards_kept
        The same of shards: where one is kept, nobody else can have claimed it in between.
    starts
        The offset each input partition is read from: the committed one, else the beginning.
    ends
        The high watermark of each input partition when the assignment was settled.
    notes
        What steps committed beside the offset of a partition of `posts` or `feed-shards`, by the
        name of the note.
    """

    epoch: int
    gained: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    shards_gained: tuple[int, ...] = ()
    shards_lost: tuple[int, ...] = ()
    shards_kept: tuple[int, ...] = ()
    starts: Mapping[TopicPartition, int] = field(default_factory=dict)
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)
    notes: Mapping[TopicPartition, Mapping[str, str]] = field(default_factory=dict)

    @property
    def owned(self) -> tuple[int, ...]:
        """All partitions that this worker has now, in order."""
        return tuple(sorted((*self.gained, *self.kept)))

    @property
    def shards(self) -> tuple[int, ...]:
        """All shards of this worker now, in order."""
        return tuple(sorted((*self.shards_gained, *self.shards_kept)))

    def all_lost(self) -> AssignmentChange:
        """Return the change by which this worker loses everything."""
        return AssignmentChange(self.epoch + 1, lost=self.owned, shards_lost=self.shards)

    @property
    def places(self) -> list[TopicPartition]:
        """What this worker has now, as `Outgoing.owner` names it."""
        return [*_places(self.owned, self.shards)]

    @property
    def places_kept(self) -> list[TopicPartition]:
        """The part of `places` that no other worker had in between."""
        return [*_places(self.kept, self.shards_kept)]


def _places(partitions: Iterable[int], shards: Iterable[int]) -> Iterator[TopicPartition]:
    yield from (TopicPartition(POSTS, p) for p in partitions)
    yield from (TopicPartition(SHARDS, s) for s in shards)


@dataclass
class Membership:
    """The state of a membership: from joining until the offsets of its partitions are known."""

    phase: Literal["outside", "waiting", "settling", "settled"] = "waiting"
    since: float = field(default_factory=time.monotonic)
    partitions: frozenset[int] = frozenset()
    shards: frozenset[int] = frozenset()
    asked: Future[dict[TopicPartition, PartitionOffsets]] | None = None


@dataclass
class Reading:
    """What is being read of an assignment.

    `begun` and `beside` are partitions of `posts` and of the topics beside it.
    """

    positions: dict[TopicPartition, int] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    beside: set[int] = field(default_factory=set)
    backlog: Backlog | None = None
    together: Together = field(default_factory=Together)
    progress: ReadProgress = field(default_factory=ReadProgress)
    stopped: dict[TopicPartition, str] = field(default_factory=dict)

    def begun_of(self, topic: str) -> set[int]:
        """Return the partitions of a topic that are read."""
        return self.begun if topic == POSTS else self.beside

    def halt(self) -> None:
        """Read nothing more; the positions stay."""
        self.begun, self.beside, self.backlog = set(), set(), None


def assignment_change(
    before: AssignmentChange,
    membership: Membership,
    untouched: Callable[[Iterable[TopicPartition]], bool],
    offsets: Mapping[TopicPartition, PartitionOffsets],
    topics: Sequence[str],
) -> AssignmentChange:
    """Return what an assignment changes; each of `topics` has a partition p.

    `untouched` says of places whether no other worker had them since this worker's last commit.
    """
    mine, shards = membership.partitions, membership.shards
    kept = {
        p
        for p in mine.intersection(before.owned)
        if untouched(TopicPartition(topic, p) for topic in topics)
    }
    shards_kept = {
        s for s in shards.intersection(before.shards) if untouched([TopicPartition(SHARDS, s)])
    }
    read = {at: found for at, found in offsets.items() if at.topic != SHARDS}
    return AssignmentChange(
        epoch=before.epoch + 1,
        gained=tuple(sorted(mine - kept)),
        lost=tuple(sorted(set(before.owned) - kept)),
        kept=tuple(sorted(kept)),
        shards_gained=tuple(sorted(shards - shards_kept)),
        shards_lost=tuple(sorted(set(before.shards) - shards_kept)),
        shards_kept=tuple(sorted(shards_kept)),
        starts={at: found.start for at, found in read.items()},
        ends={at: found.end for at, found in read.items()},
        notes={at: offsets[at].mark.notes for at in _places(mine, shards)},
    )


def another_joined(instance: str) -> UsageError:
    """Return the error that ends a worker whose name another process has."""
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
