"""Before partitions move, their next owner reads ahead while their present owner goes on.

joins:   reads ahead of all partitions ─► joins the group
leaves:  heartbeat `leaving` ─► others read ahead of its partitions ─► leaves the group

Both hold for static members, too.  A static member that the group lists was killed, or was alone:
it joins at once, since its partitions are still its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from confluent_kafka import KafkaException

from feedmill.events.instance import Instance
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.offsets import PartitionOffsets
from feedmill.streams.settings.instances import RECENT_MS
from feedmill.streams.worker.step import Step

# How long a worker that leaves goes on while other workers read ahead.
LEAVE_S = 2.0
# Any program can write heartbeats, under any number of names.
_MOST_OTHERS = 200


class Takeover:
    """Has steps `prepare` partitions that may come, and knows whether others can take over.

    Attributes
    ----------
    partitions
        How many partitions `posts` has.
    leaving
        The partitions that this worker says it leaves.
    hands_over
        True where another worker was ready when this worker began to leave.
    is_prepared
        True once the steps were asked to read ahead, before joining.
    """

    def __init__(
        self, connection: Connection, name: str, group: GroupConsumer, steps: Sequence[Step]
    ) -> None:
        environment = connection.environment
        self.partitions = 0
        self.leaving: tuple[int, ...] = ()
        self.is_prepared = self.hands_over = False
        self._instance = environment.instance
        self._offsets, self._name = connection.offsets, name
        self._group, self._steps = group, steps
        self._may_come: set[int] = set()
        self._asked: Future[dict[TopicPartition, PartitionOffsets]] | None = None
        self._leave_until = 0.0
        # Until when a worker counts as ready, by its name and whether it ranks.
        self._others: dict[tuple[str, bool], float] = {}

    def join(self) -> None:
        """Prepare to join a group with members, whichever partitions this worker will get."""
        if not self.is_prepared and not self._may_come:
            self._ask(range(self.partitions))

    def read_ahead(self) -> None:
        """Let the steps read ahead, once Kafka has said where the other workers are."""
        if self._asked is None or not self._asked.done():
            return
        try:
            found = self._asked.result()
        except KafkaException:
            self._ask(self._may_come)
            return
        starts = {at: known.start for at, known in found.items()}
        ends = {at: known.end for at, known in found.items()}
        may_come = self._may_come.difference(self._group.owned)
        likely = AssignmentChange(0, gained=tuple(sorted(may_come)), starts=starts, ends=ends)
        self.is_prepared, self._asked, self._may_come = True, None, set()
        for step in self._steps:
            step.prepare(likely)

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance."""
        if instance.instance == self._instance or instance.group != self._group.name:
            return
        # Any program can write a heartbeat.
        leaving = [p for p in instance.leaving if 0 <= p < self.partitions]
        if leaving and not self._may_come:
            self._ask(leaving)
        for ranks in {step.ranks for step in self._steps if step.name == instance.stage}:
            other = instance.instance, ranks
            if leaving:
                self._others.pop(other, None)
            elif instance.ready and (other in self._others or len(self._others) < _MOST_OTHERS):
                self._others[other] = time.monotonic() + RECENT_MS / 1000

    def leave(self) -> None:
        """Announce that this worker leaves, if other workers can take over."""
        self._leave_until = time.monotonic() + LEAVE_S
        self.hands_over = self._is_ready(ranks=False) or self._is_ready(ranks=True)
        if self.goes_on:
            self.leaving = self._group.owned

    @property
    def goes_on(self) -> bool:
        """True while other workers may still read ahead, after `leave`."""
        return time.monotonic() < self._leave_until and self._is_ready(ranks=False)

    def _is_ready(self, *, ranks: bool) -> bool:
        """Return whether another worker that judges, or one that ranks, was ready of late."""
        now = time.monotonic()
        return any(until > now for (_, of), until in self._others.items() if of == ranks)

    def _ask(self, partitions: Iterable[int]) -> None:
        self._may_come = {*partitions}
        places = [TopicPartition(POSTS, partition) for partition in sorted(self._may_come)]
        self._asked = self._offsets.standing(self._name, places)
