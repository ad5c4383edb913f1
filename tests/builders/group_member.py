"""A member of a group of workers with nothing but its consumer and its writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from builders.kafka_log import until
from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.transactional_producer import TransactionalProducer


@dataclass
class Member:
    """A group consumer and its writer: copies `posts` to `signals.quality`."""

    environment: Environment
    interval_s: float = 0.05
    most: int = 100
    shares: Sequence[str] = (POSTS,)
    changes: list[AssignmentChange] = field(default_factory=list)
    seen: int = 0
    # By cycle the first and the last time of a record.
    times: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        connection, name = Connection(self.environment), self.environment.instance
        transaction = TransactionalProducer(connection, "worker", stage="worker", now_ms=lambda: 0)
        self.writer = TransactionalWriter(
            transaction,
            owner=name,
            shares=memory_shares(self.environment),
            interval_s=self.interval_s,
        )
        self.group = GroupConsumer(
            connection,
            "worker",
            owner=name,
            on_revoked=partial(self.writer.revoked, {}),
            shares=self.shares,
        )
        self.writer.start()
        self.group.start()

    def turn(self) -> None:
        while (change := self.group.take_change()) is not None:
            self.changes.append(change)
            if change.places:
                self.writer.assigned(change, self.group.group_metadata())
            else:
                self.writer.lost()
            self.group.begin(change.owned, change.owned)
        sealed = self.group.positions()
        as_sealed = dict(sealed)
        batches = self.group.poll(self.most, 0.01)
        assert sealed == as_sealed
        assert not batches or self.group.positions() != sealed
        times = [record.timestamp for batch in batches for record in batch.records]
        if times:
            self.times.append((min(times), max(times)))
        for batch in batches:
            for record in batch.records:
                self.seen += 1
                self.writer.add("signals.quality", record.key, record.value, owner=batch.source)
        self.writer.seal(self.group.positions())

    @property
    def is_done(self) -> bool:
        return self.group.ready_reason() == "" and self.writer.is_committed()

    def close(self) -> None:
        self.group.close()
        self.writer.close()


def claimed(member: Member) -> Member:
    """The member once its first transaction, which only claims the partitions, is committed."""
    until(lambda: member.is_done and member.writer.committed_epoch, member.turn)
    return member
