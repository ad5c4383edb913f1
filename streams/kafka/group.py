"""A worker's share of the partitions: membership, positions, and what a rebalance changes.

    waiting --on_assign--> settling --offsets known--> settled --on_revoke/on_lost--> waiting

The client decides when; what the rest of the worker sees is one `AssignmentChange`, between two
batches, with the committed offsets in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.streams.kafka.assignment import (
    AssignmentChange,
    OffsetQuestions,
    PartitionOffsets,
    another_joined,
    assignment_change,
    out_of_range,
    untouched,
)
from feedmill.streams.kafka.backlog import Backlog, Together, backlog_of
from feedmill.streams.kafka.batches import TEXT_BYTES, RecordBatch, TopicPartition
from feedmill.streams.kafka.client import discard, new_group_consumer, new_log_consumer, rebalance_s
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.messages import Fetched, Most, fetch, is_out_of_range, last_known_end
from feedmill.streams.kafka.read_progress import ReadProgress

log = logging.getLogger(__name__)

MOST_BYTES = 8 * 1024 * 1024
SHARDS_TOPIC = "feed-shards"
# How much longer than a rebalance may take a member waits before it joins by another client.
MORE_THAN_REBALANCE_S = 10.0


class GroupConsumer:
    """Member of a consumer group on `posts`, with other topics beside it.

    `beside` are topics with the same partition numbers (`engagements`): a consumer of their own
    reads them, assigned by hand to the owned partitions, so that `posts` never wait behind them.
    Their offsets belong to the same group.  With `shards` the group also shares out the
    partitions of `feed-shards`; their records are not read here.

    One thread uses it.  `on_revoked` is called before partitions go: it commits what is done
    and returns whether all of it is committed.
    """

    def __init__(
        self,
        connection: Connection,
        group: str,
        *,
        owner: str,
        on_revoked: Callable[[], bool],
        beside: Sequence[str] = (),
        shards: bool = False,
    ) -> None:
        self.epoch = 0
        environment, health = connection.environment, connection.health
        self._environment = environment
        self._health = health
        self._offsets, self._headers = connection.offsets, connection.headers
        self._group = group
        self._owner = owner
        self._on_revoked = on_revoked
        self._topics = ("posts", *beside)
        self._subscribed = ["posts", SHARDS_TOPIC] if shards else ["posts"]
        name = environment.instance if environment.instance_is_given else ""
        self._new_consumer = partial(new_group_consumer, environment, group, health, instance=name)
        self._new_beside = partial(new_log_consumer, environment, health)
        self._consumer = self._new_consumer()
        self._beside = self._new_beside() if beside else None
        self._phase: Literal["waiting", "settling", "settled"] = "waiting"
        self._granted: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
        self._asked: OffsetQuestions | None = None
        self._changes: list[AssignmentChange] = []
        self._last = AssignmentChange(0)
        self._clean: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._snapshot: dict[TopicPartition, int] | None = None  # of them, until one moves
        self._reading: set[int] = set()
        self._reading_beside: set[int] = set()
        self._backlog: Backlog | None = None
        self._together = Together()
        self._waiting_since = 0.0
        self.progress = ReadProgress()
        self.stopped: dict[TopicPartition, str] = {}

    def start(self) -> None:
        """Join the group; the assignment comes through `take_change`."""
        self._waiting_since = time.monotonic()
        names = [self._environment.topic(topic) for topic in self._subscribed]
        self._consumer.subscribe(
            names, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self, most: int, wait_s: float) -> list[RecordBatch]:
        """Take what there is of `posts`; wait at most `wait_s` where there is nothing.

        What waits there when partitions are begun comes in the order of its times.
        Serves the group too, so it must be called every few seconds whatever happens.

        Raises
        ------
        UsageError
            Another process joined the group under this instance's name.
        """
        if self._consumer.brokers.are_lost or self._waits_too_long():
            self._join_again()
        backlog = self._backlog
        ready = 0 if backlog is None else backlog.ready_count()
        room = max(1, most - ready)
        fetched = self._fetch(self._consumer, Most(room, TEXT_BYTES), 0.0 if ready else wait_s)
        if self._phase == "settling":
            self._settle()
        if backlog is not None and backlog is self._backlog:
            fetched = backlog.take(fetched, most, TEXT_BYTES)
            if backlog.is_over:
                self._backlog = None
        return self._accept(fetched)

    def poll_beside(self, most: int, wait_s: float = 0.0) -> list[RecordBatch]:
        """Take what there is of the topics beside `posts`; wait where there is nothing."""
        if self._beside is None:
            return []
        if self._beside.brokers.are_lost:
            discard(self._beside)
            self._beside = self._new_beside()
            self._assign_beside()
        return self._accept(self._fetch(self._beside, Most(most, MOST_BYTES), wait_s))

    def begin(self, partitions: Iterable[int], beside: Iterable[int] = ()) -> None:
        """Start to read these owned partitions, from their positions; others go on.

        Of the topics beside `posts` only those in `beside`, too.  Gained ones wait some seconds for
        each other.  Nothing happens while an assignment is not settled: no position is known then.
        """
        if self._phase != "settled":
            return
        ready = {p for p in partitions if p in self._last.owned}
        gained = set(self._last.gained) - self._reading
        wanted = self._together.among(gained, ready - self._reading) | self._reading
        if new := {TopicPartition("posts", p) for p in wanted - self._reading}:
            waiting = new.union(self._backlog.unfinished if self._backlog is not None else ())
            waiting.difference_update(self.stopped)
            self._reading = wanted
            self._backlog = backlog_of(waiting, self._environment)
            self._consumer.assign(self._starts("posts"))
        wanted_beside = self._reading_beside | wanted.intersection(beside)
        if wanted_beside != self._reading_beside:
            self._reading_beside = wanted_beside
            self._assign_beside()

    def halt(self) -> None:
        """Read nothing more until `begin`; the positions stay."""
        if self._reading:
            self._reading, self._reading_beside, self._backlog = set(), set(), None
            self._consumer.assign([])
            self._assign_beside()

    def _assign_beside(self) -> None:
        if self._beside is not None:
            self._beside.assign([s for topic in self._topics[1:] for s in self._starts(topic)])

    @property
    def owned(self) -> tuple[int, ...]:
        """The partitions of this worker, in order, begun or not."""
        return self._last.owned

    @property
    def reading(self) -> frozenset[int]:
        """The partitions of `posts` that were begun."""
        return frozenset(self._reading)

    @property
    def is_whole(self) -> bool:
        """Whether all that is owned was begun."""
        begun = self._reading if self._beside is None else self._reading & self._reading_beside
        return len(begun) == len(self._last.owned)

    def take_change(self) -> AssignmentChange | None:
        """Return the next change of the assignment that was not taken yet, if there is one."""
        return self._changes.pop(0) if self._changes else None

    def positions(self) -> dict[TopicPartition, int]:
        """Return for every owned partition the offset after what `poll` handed out.

        The same dict until one moves; not to be changed.
        """
        if self._snapshot is None:
            self._snapshot = dict(self._positions)
        return self._snapshot

    def group_metadata(self) -> object:
        """Return what a transaction needs to commit for this member of the group."""
        return self._consumer.consumer_group_metadata()

    def caught_up(self) -> bool:
        """Whether everything was handed out that was there when the assignment was settled."""
        ends = self._last.ends
        return self._phase == "settled" and all(
            self._positions.get(at, 0) >= end for at, end in ends.items()
        )

    @property
    def is_live(self) -> bool:
        """Whether all that is owned is read, and what had waited for it was handed out."""
        return self.is_whole and self._backlog is None and self.caught_up()

    def look(self) -> None:
        """Have `progress` compare what is read with what there is."""
        self.progress.look(self._positions, self._known_end)

    def ready_reason(self) -> str:
        """Say why not all is well; "" when it is."""
        if self.stopped:
            return next(iter(self.stopped.values()))
        if self._phase != "settled":
            return "waiting for partitions"
        if create_times := self.progress.create_times:
            topic = self._environment.topic(min(create_times).topic)
            return f"`{topic}` has CreateTime: `feedmill topics create --apply` sets LogAppendTime"
        if not self.caught_up():
            return f"catching up, {sum(self.progress.lag.values())} records to go"
        return ""

    def close(self) -> None:
        """Commit by `on_revoked`, and leave the group unless the membership is static."""
        try:
            self._consumer.close()
        finally:
            if self._beside is not None:
                self._beside.close()

    def _waits_too_long(self) -> bool:
        """Whether it has had no partitions for longer than any rebalance takes."""
        waited_s = time.monotonic() - self._waiting_since
        is_waiting = self._phase == "waiting"
        return is_waiting and waited_s > MORE_THAN_REBALANCE_S + rebalance_s(self._environment)

    def _join_again(self) -> None:
        """Join by another client: of what this one owned, others are the owners by now."""
        found = "broker" if self._consumer.brokers.are_lost else "partitions"
        log.warning("joining the group by another client: the one before found no %s", found)
        gone, self._consumer = self._consumer, self._new_consumer()
        discard(gone)
        self._lose(self._consumer)
        self.start()

    def _assigned(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return
        mine, shards = set[int](), set[int]()
        for one in partitions:
            topic = self._environment.named(one.topic)
            (shards if topic == SHARDS_TOPIC else mine).add(one.partition)
        # Nothing is read before the offsets are known and the steps have restored their state.
        consumer.assign([])
        self._granted = frozenset(mine), frozenset(shards)
        self._phase, self._asked = "settling", None

    def _revoked(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return
        positions, was_settled = self.positions(), self._phase == "settled"
        clean = self._on_revoked()
        if was_settled:
            self._clean = positions if clean else {}
        self._stop_reading(consumer)

    def _lost(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return
        log.warning("the group expelled this worker: %d partitions are lost", len(partitions))
        self._lose(consumer)

    def _lose(self, consumer: Consumer) -> None:
        self._clean = {}
        self._stop_reading(consumer)
        self.epoch += 1
        self._last = AssignmentChange(self.epoch, lost=self._last.owned)
        self._changes.append(self._last)

    def _stop_reading(self, consumer: Consumer) -> None:
        consumer.unassign()
        if self._beside is not None:
            self._beside.unassign()
        self._phase, self._asked, self._waiting_since = "waiting", None, time.monotonic()
        self._reading, self._reading_beside, self._backlog = set(), set(), None
        self._positions, self._snapshot = {}, None
        self.progress, self.stopped = ReadProgress(), {}

    def _settle(self) -> None:
        """Ask for the offsets of what was granted; once they are there, hand the change down."""
        mine, shards = self._granted
        if self._asked is None:
            sources = [TopicPartition(topic, p) for topic in self._topics for p in sorted(mine)]
            self._asked = OffsetQuestions(self._offsets, self._group, sources)
        if not self._asked.done():
            return
        try:
            offsets = self._asked.result()
        except KafkaException as error:
            # Often the transaction of a former owner, which ends within seconds by itself.
            self._health.report(error.args[0])
            self._asked = None
            return
        self._phase, self._asked = "settled", None
        self._hand_down(mine, shards, offsets)

    def _hand_down(
        self,
        mine: frozenset[int],
        shards: frozenset[int],
        offsets: Mapping[TopicPartition, PartitionOffsets],
    ) -> None:
        before = set(self._last.owned)
        kept = untouched(mine & before, self._topics, offsets, self._clean, self._owner)
        self.epoch += 1
        self._positions = {at: found.start for at, found in offsets.items()}
        self._snapshot, self._together = None, Together()
        for at, found in offsets.items():
            if not found.first <= found.start <= found.end:
                held = f"the topic has {found.first} to {found.end}"
                self._stop(at, held, is_beyond=found.start > found.end)
        self._last = assignment_change(self.epoch, before, mine, kept, shards, offsets)
        self._changes.append(self._last)
        log.info("assigned: %s", self._last.owned)

    def _fetch(self, consumer: Consumer, most: Most, wait_s: float) -> Fetched:
        try:
            fetched = fetch(consumer, self._headers, most, wait_s=wait_s, gathers=not self.is_live)
        except KafkaException as error:
            self._judge(None, error.args[0])
            return Fetched()
        for source, complaint in fetched.errors:
            self._judge(source, complaint)
        return fetched

    def _accept(self, fetched: Fetched) -> list[RecordBatch]:
        """Move the positions; records of partitions that are not read any more are left out."""
        batches = []
        for source, records in fetched.records.items():
            position = self._positions.get(source)
            if position is None or source.partition not in self._begun(source.topic):
                continue
            if records.offsets[-1] < position:
                continue
            if records.offsets[0] < position:
                records = records.since(position)  # noqa: PLW2901 - less of it
            is_append_time = source not in fetched.create_times
            self.progress.stamped(source, is_append_time=is_append_time)
            batch = RecordBatch(source, records, self.epoch, is_append_time)
            self._positions[source], self._snapshot = records.offsets[-1] + 1, None
            batches.append(batch)
        for source, end in fetched.ends.items():
            self.progress.said_end(source, end)
            is_begun = source.partition in self._begun(source.topic)
            if is_begun and end > self._positions.get(source, end):
                self._positions[source], self._snapshot = end, None
        return batches

    def _judge(self, source: TopicPartition | None, error: KafkaError) -> None:
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise another_joined(self._environment.instance)
        if source is not None and is_out_of_range(error):
            self._stop(source, error.str())
        else:
            self._health.report(error)

    def _stop(self, source: TopicPartition, found: str, *, is_beyond: bool = False) -> None:
        """Read nothing more of a partition, and say so until an operator has decided."""
        where = source, self._positions.get(source), found
        reason = out_of_range(self._environment, self._group, *where, is_beyond=is_beyond)
        if source not in self.stopped:
            log.error("%s", reason)
        self.stopped[source] = reason
        if self._backlog is not None:
            self._backlog.leave(source)

    def _starts(self, topic: str) -> list[KafkaPartition]:
        name = self._environment.topic(topic)
        return [
            KafkaPartition(name, p, self._positions[TopicPartition(topic, p)])
            for p in sorted(self._begun(topic))
            if TopicPartition(topic, p) not in self.stopped
        ]

    def _begun(self, topic: str) -> set[int]:
        return self._reading if topic == "posts" else self._reading_beside

    def _known_end(self, at: TopicPartition) -> int:
        consumer = self._consumer if at.topic == "posts" or self._beside is None else self._beside
        known = self._last.ends.get(at, 0)
        is_begun = at.partition in self._begun(at.topic)
        return last_known_end(consumer, self._environment, at, known) if is_begun else known
