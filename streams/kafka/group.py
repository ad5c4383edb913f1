"""A worker's share of the partitions: membership, positions, and what a rebalance changes.

    outside --start--> waiting --on_assign--> settling --offsets known--> settled --lost--> waiting

The client decides when a rebalance happens.  The rest of the worker sees one `AssignmentChange`
between two batches, with the committed offsets in it.

Engagements are held back (`PostsFirst`) until the posts that came before them are read: posts and
engagements are read by a consumer each, and what an engagement counts for depends on its post.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from kafka.admin import MemberToRemove

from feedmill.streams.kafka.assignment import (
    POSTS,
    SHARDS,
    AssignmentChange,
    Membership,
    Reading,
    another_joined,
    assignment_change,
    out_of_range,
)
from feedmill.streams.kafka.backlog import backlog_of
from feedmill.streams.kafka.batch_headers import new_admin
from feedmill.streams.kafka.batches import (
    TEXT_BYTES,
    FetchedRecords,
    RecordBatch,
    TopicPartition,
    record_bytes,
)
from feedmill.streams.kafka.client import discard, new_group_consumer, new_log_consumer, rebalance_s
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.messages import Fetched, Most, fetch, is_out_of_range, last_known_end
from feedmill.streams.kafka.offsets import Offsets, PartitionOffsets
from feedmill.streams.kafka.read_progress import ReadProgress

log = logging.getLogger(__name__)

# Why a worker is not ready after a start and in a rebalance.
WAITING, CATCHING_UP = "waiting for partitions", "catching up"

MOST_BYTES = 8 * 1024 * 1024
# How much longer than a rebalance a member waits for partitions before it joins by another client.
MORE_THAN_REBALANCE_S = 10.0
# How long engagements wait for a partition of `posts` that is not read on.
MOST_WAIT_S = 10.0
_LEAVE_MS = 2_000


class GroupConsumer:
    """Member of a consumer group on `posts`, on `feed-shards`, or both: what it `shares`.

    `beside` are topics with the partition numbers of `posts` (`engagements`).  A second consumer
    reads them, assigned by hand to the owned partitions, so that `posts` never wait behind them;
    their offsets belong to the same group.  `feed-shards` has no records to read.

    `name` is the group's name in Kafka.  One thread uses it.  `on_revoked` is called before
    partitions go: it commits what is done and returns whether all of it is committed.
    """

    def __init__(
        self,
        connection: Connection,
        group: str,
        *,
        owner: str,
        on_revoked: Callable[[], bool],
        beside: Sequence[str] = (),
        shares: Sequence[str] = (POSTS,),
    ) -> None:
        self.name = connection.environment.group(group)
        environment, health = connection.environment, connection.health
        self._environment = environment
        self._connection = connection
        self._group, self._owner, self._on_revoked = group, owner, on_revoked
        self._topics, self._shares = (POSTS, *beside), tuple(shares)
        name = environment.instance if environment.instance_is_given else ""
        self._new_consumer = partial(new_group_consumer, environment, group, health, instance=name)
        self._new_beside = partial(new_log_consumer, environment, health)
        self._consumer = self._new_consumer()
        self._beside = self._new_beside() if beside else None
        self.posts_first = PostsFirst(connection.offsets)
        self._membership = Membership("outside")
        self._changes: list[AssignmentChange] = []
        self._last = AssignmentChange(0)
        self._clean: dict[TopicPartition, int] = {}  # what a revocation committed; 0 of shards
        self._reading = Reading()

    def start(self) -> None:
        """Join the group; the assignment comes through `take_change`."""
        self._membership = Membership()
        names = [self._environment.topic(topic) for topic in self._shares]
        self._consumer.subscribe(
            names, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self, most: int, wait_s: float) -> list[RecordBatch]:
        """Take records of `posts`; wait at most `wait_s` if there are none.

        Records that wait when partitions are begun come in the order of their times.  The call
        also serves the group, so it must come every few seconds whatever happens.

        Raises `UsageError`: another process joined the group under this instance's name.
        """
        if self._consumer.brokers.are_lost or self._waits_too_long():
            self._join_again()
        backlog = self._reading.backlog
        ready = 0 if backlog is None else backlog.ready_count()
        room = max(1, most - ready)
        fetched = self._fetch(self._consumer, Most(room, TEXT_BYTES), 0.0 if ready else wait_s)
        if self._membership.phase == "settling":
            self._settle()
        if backlog is not None and backlog is self._reading.backlog:
            fetched = backlog.take(fetched, most, TEXT_BYTES)
            if backlog.is_over:
                self._reading.backlog = None
        return self._accept(fetched)

    def poll_beside(self, most: int, wait_s: float = 0.0) -> list[RecordBatch]:
        """Take records of the topics beside `posts`; wait at most `wait_s` if there are none."""
        if self._beside is None:
            return []
        if self._beside.brokers.are_lost:
            discard(self._beside)
            self._beside = self._new_beside()
            self._assign_beside()
        room = Most(most, MOST_BYTES - self.posts_first.size)
        fetched = self._fetch(self._beside, room, wait_s) if room.size > 0 else Fetched()
        positions, stopped = self._reading.positions, self._reading.stopped
        if stopped:
            positions = {at: n for at, n in positions.items() if at not in stopped}
        return self._accept(self.posts_first.let_through(fetched, positions))

    def begin(self, partitions: Iterable[int], beside: Iterable[int] = ()) -> None:
        """Start to read these owned partitions, from their positions; those begun before go on.

        Of the topics beside `posts` only the partitions `beside` are read.  Gained partitions wait
        some seconds for each other.  While an assignment is not settled, the call does nothing.
        """
        if self._membership.phase != "settled":
            return
        reading, begun = self._reading, self._reading.begun
        ready = {p for p in partitions if p in self._last.owned}
        gained = set(self._last.gained) - begun
        wanted = reading.together.among(gained, ready - begun) | begun
        if new := {TopicPartition("posts", p) for p in wanted - begun}:
            waiting = new.union(reading.backlog.unfinished if reading.backlog is not None else ())
            waiting.difference_update(reading.stopped)
            reading.begun = wanted
            reading.backlog = backlog_of(waiting, self._environment)
            self._consumer.assign(self._starts("posts"))
        wanted_beside = reading.beside | wanted.intersection(beside)
        if wanted_beside != reading.beside:
            reading.beside = wanted_beside
            self._assign_beside()

    def halt(self) -> None:
        """Read nothing more until `begin`; the positions stay."""
        if self._reading.begun:
            self._reading.halt()
            self._consumer.assign([])
            self._assign_beside()

    def _assign_beside(self) -> None:
        self.posts_first.clear()
        if self._beside is not None:
            self._beside.assign([s for topic in self._topics[1:] for s in self._starts(topic)])

    @property
    def owned(self) -> tuple[int, ...]:
        """The partitions of this worker, in order, whether begun or not."""
        return self._last.owned

    @property
    def reading(self) -> frozenset[int]:
        """The partitions of `posts` that were begun."""
        return frozenset(self._reading.begun)

    @property
    def progress(self) -> ReadProgress:
        """Up to when the partitions are read, as of the last `look`."""
        return self._reading.progress

    @property
    def is_whole(self) -> bool:
        """True once all owned partitions were begun."""
        begun, beside = self._reading.begun, self._reading.beside
        return len(begun if self._beside is None else begun & beside) == len(self._last.owned)

    def take_change(self) -> AssignmentChange | None:
        """Return the next change of the assignment, if there is one, and forget it."""
        return self._changes.pop(0) if self._changes else None

    def positions(self) -> dict[TopicPartition, int]:
        """Return for every owned partition the offset after what `poll` handed out."""
        return dict(self._reading.positions)

    def group_metadata(self) -> object:
        """Return what a transaction needs to commit for this member of the group."""
        return self._consumer.consumer_group_metadata()

    def caught_up(self) -> bool:
        """Return whether all records were handed out that waited when the group settled."""
        positions, ends = self._reading.positions, self._last.ends
        return self._membership.phase == "settled" and all(
            positions.get(at, 0) >= end for at, end in ends.items()
        )

    @property
    def is_live(self) -> bool:
        """True while all owned partitions are read, and the records that waited were handed out."""
        return self.is_whole and self._reading.backlog is None and self.caught_up()

    def look(self) -> None:
        """Compare, for `progress`, the positions with the ends of the partitions."""
        self.progress.look(self._reading.positions, self._known_end)

    def ready_reason(self) -> str:
        """Say why the worker cannot be ready yet; "" if it can."""
        if self._reading.stopped:
            return next(iter(self._reading.stopped.values()))
        if self._membership.phase != "settled":
            return WAITING
        if create_times := self.progress.create_times:
            topic = self._environment.topic(min(create_times).topic)
            return f"`{topic}` has CreateTime: `feedmill topics create --apply` sets LogAppendTime"
        if not self.caught_up():
            return f"{CATCHING_UP}, {sum(self.progress.lag.values())} records to go"
        return ""

    def close(self, *, leaves: bool = False) -> None:
        """Commit by `on_revoked` and leave the group; a static member stays unless it `leaves`."""
        member = self._consumer.memberid()
        try:
            self._consumer.close()
            if leaves and member and self._environment.instance_is_given:
                self._leave(member)
        finally:
            if self._beside is not None:
                self._beside.close()

    def _leave(self, member: str) -> None:
        """Leave as a static member, which librdkafka never does; the session ends what fails."""
        environment = self._environment
        me = MemberToRemove(member_id=member, group_instance_id=environment.instance)
        with closing(new_admin(environment, _LEAVE_MS)) as admin:
            (found,) = admin.remove_group_members(self.name, [me]).values()
        if found.errno:
            log.warning("`%s` did not leave the group: %s", environment.instance, found.__name__)

    def _waits_too_long(self) -> bool:
        """Return whether the member has had no partitions for longer than any rebalance takes."""
        waited_s = time.monotonic() - self._membership.since
        is_waiting = self._membership.phase == "waiting"
        return is_waiting and waited_s > MORE_THAN_REBALANCE_S + rebalance_s(self._environment)

    def _join_again(self) -> None:
        """Join by another client; the partitions of the former one have other owners by now."""
        found = "broker" if self._consumer.brokers.are_lost else "partitions"
        log.warning("joining the group by another client: the one before found no %s", found)
        gone, self._consumer = self._consumer, self._new_consumer()
        discard(gone)
        self._lose(self._consumer)
        self.start()

    def _assigned(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return
        mine = {name: frozenset[int]() for name in (POSTS, SHARDS)}
        for granted in partitions:
            mine[self._environment.named(granted.topic)] |= {granted.partition}
        # Nothing is read before the offsets are known and the steps have restored their state.
        consumer.assign([])
        self._membership = Membership("settling", partitions=mine[POSTS], shards=mine[SHARDS])

    def _revoked(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return
        positions, was_settled = self.positions(), self._membership.phase == "settled"
        clean = self._on_revoked()
        if was_settled:
            shards = dict.fromkeys((TopicPartition(SHARDS, s) for s in self._last.shards), 0)
            self._clean = positions | shards if clean else {}
        self._stop_reading(consumer)

    def _lost(self, consumer: Consumer, partitions: Sequence[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return
        log.warning("the group expelled this worker: %d partitions are lost", len(partitions))
        self._lose(consumer)

    def _lose(self, consumer: Consumer) -> None:
        self._clean = {}
        self._stop_reading(consumer)
        self._last = self._last.all_lost()
        self._changes.append(self._last)

    def _stop_reading(self, consumer: Consumer) -> None:
        consumer.unassign()
        self.posts_first.clear()
        if self._beside is not None:
            self._beside.unassign()
        self._membership, self._reading = Membership(), Reading()

    def _settle(self) -> None:
        """Ask for the offsets of granted partitions; once they are known, hand the change out."""
        membership = self._membership
        if membership.asked is None:
            mine = sorted(membership.partitions)
            sources = [TopicPartition(topic, p) for topic in self._topics for p in mine]
            shards = [TopicPartition(SHARDS, s) for s in membership.shards]
            membership.asked = self._connection.offsets.standing(self._group, sources, shards)
        if not membership.asked.done():
            return
        try:
            offsets = membership.asked.result()
        except KafkaException as error:
            # Often a transaction of the former owner is open, which ends by itself within seconds.
            self._connection.health.report(error.args[0])
            membership.asked = None
            return
        membership.phase, membership.asked = "settled", None
        self._hand_down(offsets)

    def _hand_down(self, offsets: Mapping[TopicPartition, PartitionOffsets]) -> None:
        def untouched(places: Iterable[TopicPartition]) -> bool:
            return all(
                self._clean.get(at) == offsets[at].start and offsets[at].mark.by == self._owner
                for at in places
            )

        self._last = assignment_change(
            self._last, self._membership, untouched, offsets, self._topics
        )
        self._reading = Reading(dict(self._last.starts))
        for at in self._last.starts:
            found = offsets[at]
            if not found.first <= found.start <= found.end:
                held = f"the topic has {found.first} to {found.end}"
                self._stop(at, held, is_beyond=found.start > found.end)
        self._changes.append(self._last)
        log.info("assigned: %s, shards %s", self._last.owned, self._last.shards)

    def _fetch(self, consumer: Consumer, most: Most, wait_s: float) -> Fetched:
        try:
            headers, gathers = self._connection.headers, not self.is_live
            fetched = fetch(consumer, headers, most, wait_s=wait_s, gathers=gathers)
        except KafkaException as error:
            self._judge(None, error.args[0])
            return Fetched()
        for source, complaint in fetched.errors:
            is_unused = complaint.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            if consumer is not self._beside or not is_unused:
                self._judge(source, complaint)
        return fetched

    def _accept(self, fetched: Fetched) -> list[RecordBatch]:
        """Move the positions; leave out records of partitions that are not read any more."""
        batches, reading = [], self._reading
        for source, records in fetched.records.items():
            position = reading.positions.get(source)
            if position is None or source.partition not in reading.begun_of(source.topic):
                continue
            if records.offsets[-1] < position:
                continue
            if records.offsets[0] < position:
                records = records.since(position)  # noqa: PLW2901 - less of it
            is_append_time = source not in fetched.create_times
            reading.progress.stamped(source, is_append_time=is_append_time)
            batch = RecordBatch(source, records, is_append_time)
            reading.positions[source] = batch.end
            batches.append(batch)
        for source, end in fetched.ends.items():
            reading.progress.said_end(source, end)
            is_begun = source.partition in reading.begun_of(source.topic)
            if is_begun and end > reading.positions.get(source, end):
                reading.positions[source] = end
        return batches

    def _judge(self, source: TopicPartition | None, error: KafkaError) -> None:
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise another_joined(self._environment.instance)
        if source is not None and is_out_of_range(error):
            self._stop(source, error.str())
        else:
            self._connection.health.report(error)

    def _stop(self, source: TopicPartition, found: str, *, is_beyond: bool = False) -> None:
        """Read nothing more of a partition until an operator decides; be not ready meanwhile."""
        reading = self._reading
        where = source, reading.positions.get(source), found
        reason = out_of_range(self._environment, self._group, *where, is_beyond=is_beyond)
        if source not in reading.stopped:
            log.error("%s", reason)
        reading.stopped[source] = reason
        if reading.backlog is not None:
            reading.backlog.leave(source)

    def _starts(self, topic: str) -> list[KafkaPartition]:
        name, reading = self._environment.topic(topic), self._reading
        begun = (TopicPartition(topic, p) for p in sorted(reading.begun_of(topic)))
        read = (at for at in begun if at not in reading.stopped)
        return [KafkaPartition(name, at.partition, reading.positions[at]) for at in read]

    def _known_end(self, at: TopicPartition) -> int:
        consumer = self._consumer if at.topic == "posts" or self._beside is None else self._beside
        known = self._last.ends.get(at, 0)
        is_begun = at.partition in self._reading.begun_of(at.topic)
        return last_known_end(consumer, self._environment, at, known) if is_begun else known


@dataclass
class _Held:
    """Held records of a partition; `covered` of them came before the question for `posts`' end."""

    records: FetchedRecords = field(default_factory=FetchedRecords)
    size: int = 0
    has_create_time: bool = False
    asked: Future[dict[TopicPartition, int]] | None = None
    covered: int = 0
    end: int | None = None


class PostsFirst:
    """Holds engagements back until the posts that came before them are read.

        fetch: engagements ─► of posts that are known ─► the worker
                           └► of others, and all behind ─► read `posts` to its end ─► the worker

    Of a post that is not known only Kafka can say whether it came before.  While a partition of
    `posts` is not read on, its engagements are not held back.  One thread uses it; no call waits.
    `is_new`, which the worker sets, says of a partition and a post id whether the post is unknown.
    """

    def __init__(self, offsets: Offsets) -> None:
        self.is_new: Callable[[int, str], bool] = lambda *_: False
        self._offsets = offsets
        self._held: dict[TopicPartition, _Held] = {}
        # By partition of `posts` its position before the end, and since when it stands there.
        self._standing: dict[TopicPartition, tuple[int, float]] = {}

    @property
    def size(self) -> int:
        """The bytes of the held records."""
        return sum(held.size for held in self._held.values())

    def clear(self) -> None:
        """Forget held records: they are read again, or belong to another worker."""
        self._held.clear()
        self._standing.clear()

    def let_through(self, fetched: Fetched, positions: Mapping[TopicPartition, int]) -> Fetched:
        """Add what was fetched; return the first records of each partition that may be counted.

        `positions` say how far `posts` was handed out, without stopped partitions.
        """
        for source, records in fetched.records.items():
            held = self._held.get(source)
            if held is None:
                held = self._held[source] = _Held(records)
            else:
                held.records.extend(records)
                held.size += record_bytes(records.keys, records.values)
            held.has_create_time = source in fetched.create_times
        for source, end in fetched.ends.items():
            self._held.setdefault(source, _Held()).end = end
        taken = Fetched()
        for source, held in [*self._held.items()]:
            count = self._free(source.partition, held, positions)
            if count and held.has_create_time:
                taken.create_times.add(source)
            if count < len(held.records):
                self._keep(source, held, count, taken)
                continue
            if held.records:
                taken.records[source] = held.records
            if held.end is not None:
                taken.ends[source] = held.end
            del self._held[source]
        return taken

    def _keep(self, source: TopicPartition, held: _Held, count: int, taken: Fetched) -> None:
        """Let the first records through, and hold the rest."""
        if count or not held.size:
            first, held.records = held.records.cut(count)
            held.size = record_bytes(held.records.keys, held.records.values)
            held.covered -= count
            if first:
                taken.records[source] = first

    def _free(self, partition: int, held: _Held, positions: Mapping[TopicPartition, int]) -> int:
        """Return how many of the first records may be counted; ask about the next one."""
        posts, free = TopicPartition("posts", partition), 0
        if held.asked is not None:
            if not held.asked.done():
                return 0
            with suppress(KafkaException):  # if the broker was away, the next call asks again
                if self._gets_on(posts, positions.get(posts), held.asked.result()[posts]):
                    return 0
                free = held.covered
            held.asked = None
        for at, key in enumerate(held.records.keys[free:], free):
            if self.is_new(partition, (key or b"").decode("utf-8", "replace")):
                held.asked, held.covered = self._offsets.readable_ends([posts]), len(held.records)
                return at
        return len(held.records)

    def _gets_on(self, posts: TopicPartition, position: int | None, end: int) -> bool:
        """Return whether a partition of `posts` is before an end and is still read on."""
        if position is None or position >= end:
            self._standing.pop(posts, None)
            return False
        now = time.monotonic()
        if self._standing.get(posts, (-1, now))[0] != position:
            self._standing[posts] = position, now
        return now - self._standing[posts][1] < MOST_WAIT_S
