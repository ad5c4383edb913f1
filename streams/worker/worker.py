"""A worker: one synchronous loop that reads, decides, writes and commits.

    config, instances ─► assignment ─► posts, engagements ─► decode ─► steps ─► writer ─► background

Every cycle takes what has come since the last one; nothing waits for fuller batches.  Commits,
HTTP and the watchdog have threads of their own, and share nothing but what their classes lock.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent
from feedmill.events.settings import Settings
from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.kafka.assignment import ENGAGEMENTS, POSTS, SHARDS
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.offsets import Members
from feedmill.streams.kafka.topic_ids import FOLLOWED, TopicIds
from feedmill.streams.kafka.transactional_producer import TransactionalProducer
from feedmill.streams.observe.legs import Arrivals, Legs
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.poison.poison_watch import PoisonWatch
from feedmill.streams.releases.model_releases import ModelReleases
from feedmill.streams.settings.clock import LogTime
from feedmill.streams.settings.config_log import SettingsLog
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.heap import settle_memory, trim_heap
from feedmill.streams.worker.step import ModelStep, Step, StepContext, Trial, WorkBatch, WorkerView
from feedmill.streams.worker.takeover import LEAVE_S, Takeover
from feedmill.streams.worker.watchdog import Watchdog, ends_within
from feedmill.streams.worker.worker_status import WorkerStatus

log = logging.getLogger(__name__)

# How much processor time a cycle may take before its background work ends, and how much the step
# whose turn it is has at least, where posts and restores took all of that.
CYCLE_S = 0.012
LEAST_S = 0.004
# With less time left no turn begins, since a turn takes at least one slice.
LEAST_TURN_S = 0.001
# How long the loop waits for input when no step has anything to do.
IDLE_S = 0.010
STOP_WITHIN_S = 8.0
# How long the loop waits for input while a restore or a step waits for something else.
SOON_S = 0.003
# The loop waits on the consumer of the topic that brought records last.  In between it looks at the
# other consumer and for settings: more often for a while after engagements came.
LOOK_S = 0.005
LOOK_OFTEN_S = 0.001
OFTEN_FOR_S = 0.1
_SERVE_GROUP_EVERY_S = 1.0
# How often a worker asks whether its group still lists its name, until it joins.
_MEMBERS_EVERY_S = 1.0


class Worker(WorkerView):
    """Runs steps in order over the partitions that its group gives it, until it is stopped.

    `group` names the consumer group, `judges` says whether it gets a share of `posts`, and `beside`
    which topics with the same partition numbers are read with it.  A worker that ranks gets shards.
    `dead_letters_of` is the stage in whose name it writes dead letters of `posts` and
    `engagements`; None where another group of the installation does.
    """

    def __init__(
        self,
        environment: Environment,
        steps: Sequence[Step],
        *,
        group: str = "worker",
        judges: bool = True,
        beside: Sequence[str] = ("engagements",),
        dead_letters_of: str | None = "engagement",
    ) -> None:
        self.steps: Sequence[Step] = tuple(steps)
        self._models = [step for step in steps if isinstance(step, ModelStep)]
        self.connection = Connection(environment)
        self.metrics = Metrics(group, environment.instance)
        self.legs = Legs(self.metrics)
        self.stopping = threading.Event()
        self.time = LogTime(self.connection)
        self.settings = SettingsLog(self.connection)
        self.releases = ModelReleases(self.connection, environment.models, self.steps)
        owner, clock = uuid.uuid4().hex[:12], self.time.clock
        producer = TransactionalProducer(self.connection, group, stage=group, now_ms=clock.now_ms)
        ranks = any(step.ranks for step in steps)
        # Other workers rank by what this worker writes, until it is assigned all shards of feeds.
        producer.sends_soon = not ranks
        self._producer, self._shards = producer, 0
        shares = memory_shares(environment)
        self.writer = TransactionalWriter(producer, owner=owner, shares=shares)
        self.poison = PoisonWatch(
            self.connection, self.metrics, clock, self.releases.in_use, self.writer
        )
        self.group = GroupConsumer(
            self.connection,
            group,
            owner=owner,
            on_revoked=self.poison.give_back,
            beside=beside,
            shares=[*([POSTS] if judges else ()), *([SHARDS] if ranks else ())],
        )
        followed = (*FOLLOWED, *(f"signals.{name}" for name in environment.signals.all))
        self.group.posts_first.is_new = self._never_was
        self.takeover = Takeover(self.connection, group, self.group, self.steps)
        self.topics = TopicIds(self.connection, group, followed, self.writer.commit_once)
        self._dead_letters_of = dead_letters_of
        self._input = Input(
            self.group, self.writer, environment.batch_records, self._has_new_settings
        )
        self._started_steps: list[Step] = []
        self._group_name = group
        # Who is in the group, asked before this worker joins it; and when to ask again.
        self._members: Future[Members] | None = None
        self._ask_again_at = 0.0
        self._followed: Settings | None = None  # by all steps, once they have begun
        self._is_busy = False
        self._next_step = 0
        self.status = WorkerStatus(self, Watchdog())

    def run(self) -> None:
        """Start, run cycles until SIGTERM, SIGINT or `stopping`, stop; called on the main thread.

        Raises `FeedmillError`: a topic is missing, a model is refused, or another worker has this
        instance's name.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stopping.set())
        # The Redis writer's thread asks for the interpreter lock three times a batch, and each time
        # waits for the loop up to this long; Python's default is 5 ms.
        sys.setswitchinterval(0.0002)
        try:
            self._start()
            while not self.stopping.is_set():
                self._cycle()
            self._leave()
        finally:
            self._stop()

    # --- what steps ask ------------------------------------------------------------------------

    def hurry(self) -> None:
        self.time.heartbeats.hurry()

    def newest_settings(self) -> Settings | None:
        return self.settings.newest()

    def has_read_settings(self) -> bool:
        return self.settings.log.all_restored()

    def has_loaded_lists(self) -> bool:
        return self.releases.lists_complete()

    def is_live(self) -> bool:
        return self.group.is_live

    def try_posts(self, source: TopicPartition, records: Sequence[Record]) -> Trial | None:
        return self.poison.try_posts(source, records)

    def written(self) -> Mapping[TopicPartition, int]:
        return self.writer.written()

    def is_second(self, stage: str) -> bool | None:
        return self.status.others.are_first(stage)

    def signals_fetched(self, batches: Sequence[RecordBatch]) -> Sequence[Arrivals]:
        return self.legs.signals_fetched(batches)

    # --- start and stop ------------------------------------------------------------------------

    def _start(self) -> None:
        self.status.start()
        partitions = self.connection.offsets.partition_count(POSTS, self.stopping)
        self.takeover.partitions = partitions
        # Judges only count the shards; rankers claim them by this topic.
        needs = "Read" if any(step.ranks for step in self.steps) else "Describe"
        self._shards = self.connection.offsets.partition_count(SHARDS, self.stopping, needs=needs)
        self._decode = partial(
            decode_work,
            partitions=partitions,
            poisoned=self.poison.log.by_partition,
            never_was=self._never_was,
        )
        self.poison.start(self.stopping)
        for step in self.steps:
            step.start(
                StepContext(
                    self.connection,
                    self.time.clock,
                    self.metrics.of_stage(step.name),
                    partitions,
                    self.poison.log.by_partition,
                    worker=self,
                )
            )
            self._started_steps.append(step)
        self.time.on_beat = self._hand_heartbeat_down
        self.status.watchdog.start()
        self.writer.start()
        while not (self.settings.log.all_restored() and self.time.clock.is_set):
            if self.stopping.is_set():
                return
            self._follow_logs()
            self.settings.follow()
            self.status.look()
            time.sleep(SOON_S)
        self._followed = self.settings.settings
        for step in self.steps:
            step.settings_changed(self._followed)
        settle_memory()
        self._ask_for_members()

    def _ask_for_members(self) -> None:
        self._members = self.connection.offsets.members(self._group_name)
        self._ask_again_at = time.monotonic() + _MEMBERS_EVERY_S

    def _leave(self) -> None:
        """Go on while other workers read ahead the partitions that they get from this worker."""
        self.takeover.leave()
        self.hurry()
        while self.takeover.leaving and self.takeover.goes_on:
            self._cycle()

    def _stop(self) -> None:
        self.poison.ends.is_failed = failed = sys.exc_info()[1] is not None
        self.status.watchdog.stop()
        parts: list[Callable[[], object]] = [
            partial(self.group.close, leaves=self.takeover.hands_over),
            self.writer.close,
            *(step.close for step in self._started_steps),
        ]
        parts += [self.status.close, self.time.close, self.settings.close, self.poison.close]
        left_s = STOP_WITHIN_S - LEAVE_S * bool(self.takeover.leaving)
        with ends_within(left_s, 1 if failed else 0):
            for part in (*parts, self.releases.close, self.connection.close):
                try:
                    part()
                except Exception as error:  # noqa: BLE001 - the process is ending whatever happens
                    log.warning("while stopping: %r", error)

    # --- one cycle ----------------------------------------------------------------------------

    def _cycle(self) -> None:
        start, cpu_start = time.perf_counter(), time.thread_time()
        self.status.watchdog.turn()
        self._follow_logs()
        self.takeover.read_ahead()
        self._join()
        self._follow_assignment()
        moved = False
        urgent = [step for step in self.steps if step.is_urgent]
        steps = self.poison.allowed(urgent or self.steps)
        for step in steps:
            moved = step.poll(self.writer) or moved
        self.releases.note(self._reading_positions, self.writer)
        before_wait = time.perf_counter()
        taken = self._input.take(0.0 if moved or self._is_busy else self._wait_s())
        waited = time.perf_counter() - before_wait
        self._follow_settings()
        is_active = moved or any(taken)
        if is_active:
            self._apply(taken)
        self.writer.seal(self.group.positions())
        self._is_busy = self._work_in_background(steps, cpu_start + CYCLE_S)
        self.releases.known_answers.ask(time.monotonic())
        self.status.look()
        seconds = time.perf_counter() - start - waited
        if is_active or self._is_busy:
            self.metrics.observe("feedmill_loop_seconds", seconds)
            self.metrics.observe("feedmill_loop_cpu_seconds", time.thread_time() - cpu_start)

    def _follow_logs(self) -> None:
        # Settings of the last cycle come first: the heartbeat says that all steps follow them.
        self._follow_settings()
        self.time.follow(self.status.instances)
        self.topics.look()
        if self.releases.follow():
            self.hurry()
        self.poison.follow(self._knows_what_to_run, self._has_caught_up)

    def _has_new_settings(self) -> bool:
        self.settings.follow()
        return self.settings.settings is not self._followed

    def _follow_settings(self) -> None:
        """Give all steps new settings; only before and after the input of a cycle.

        A step that ranks also gets the newest settings after every other step: readers wait for it.
        """
        settings, before = self.settings.settings, self._followed
        if before is None or settings is before:
            return
        self._followed = settings
        for step in self.steps:
            step.settings_changed(settings)
        # A refusal alone is told with the next regular heartbeat.
        if not settings.says_as(before):
            self.hurry()

    def _hand_heartbeat_down(self, value: bytes | None, at_ms: int) -> None:
        if not value:
            return
        try:
            instance = decode_instance(value)
        except BadEvent:
            return
        parts = self.releases.heartbeat, self.status.others.heartbeat, self.takeover.heartbeat
        for take in (*parts, *(step.heartbeat for step in self.steps)):
            take(instance, at_ms)

    def _never_was(self, partition: int, post_id: str) -> bool:
        return any(step.never_was(partition, post_id) for step in self.steps)

    def _join(self) -> None:
        """Join the group; if it has members, once all that needs no partitions is restored."""
        asked = self._members
        if asked is None or not asked.done():
            return
        members = asked.result() if asked.exception() is None else Members()
        is_settled = self._knows_what_to_run()
        if members.has_others and is_settled and not members.has_me:
            self.takeover.join()
        may_join = is_settled and (members.has_me or self.takeover.is_prepared)
        may_join = may_join and all(step.status().may_join for step in self.steps)
        if may_join or not members.has_others:
            self._members = None
            self.group.start()
        elif members.has_me and time.monotonic() > self._ask_again_at:
            # Its session may end before this worker is restored.
            self._ask_for_members()

    def _follow_assignment(self) -> None:
        while (taken := self.group.take_change()) is not None:
            change = self.poison.assigned(taken)
            self._producer.sends_soon = len(change.shards) < self._shards
            if change.places:
                self.writer.assigned(change, self.group.group_metadata())
            else:
                self.writer.lost()
            # A worker that was paused must not go on with its former settings.
            self.settings.log.restore_again()
            self.releases.assigned(change)
            for step in self.steps:
                step.on_assigned(change)
            self.status.hurry()
        if not self.topics.allow_reading:
            self.group.halt()
        elif not self.group.is_whole and self._knows_what_to_run():
            ready = [p for p in self.group.owned if all(step.ready_for(p) for step in self.steps)]
            beside = [p for p in ready if all(s.ready_for(p, ENGAGEMENTS) for s in self.steps)]
            self.group.begin(filter(self.poison.allows, ready), beside)
            if self.group.is_whole:
                # The memory that restores took is free by now.
                threading.Thread(target=trim_heap, name="heap", daemon=True).start()

    def _knows_what_to_run(self) -> bool:
        return self.settings.log.all_restored() and self.releases.is_settled()

    def _has_caught_up(self) -> bool:
        return self.group.is_live and not any(step.scores_again for step in self._models)

    def _reading_positions(self) -> dict[TopicPartition, int]:
        """Return the next offset of each partition whose posts may come."""
        reading = self.group.reading
        return {at: n for at, n in self.group.positions().items() if at.partition in reading}

    def _wait_s(self) -> float:
        is_idle = self.group.is_live and all(step.is_idle for step in self.steps)
        return IDLE_S if is_idle else SOON_S

    def _apply(self, taken: Taken) -> None:
        for topic in filter(None, taken):
            count = sum([len(batch.records) for batch in topic])
            self.metrics.add("feedmill_events_total", count, topic=topic[0].source.topic)
        arrivals = self.legs.fetched(*taken)
        now_ms = self.time.clock.now_ms()
        work = self._decode(*taken, now_ms=now_ms, arrivals=arrivals)
        work.posts.interleaved = self.releases.interleaved
        if work.rejected:
            self._letter(work)
        ranks = [step for step in self.steps if step.ranks]
        for step in self.steps:
            try:
                step.apply(work, self.writer)
            except Exception as error:  # noqa: BLE001 - the step says whether it is its own affair
                step.failed(work, error, self.writer)
            for ranking in ranks:
                ranking.settings_changed(self.settings.newest())
        for arrival in arrivals:
            arrival.judged()
        if self.releases.judged(work, self.writer):
            self.hurry()

    def _letter(self, work: WorkBatch) -> None:
        for rejection in work.rejected:
            self.metrics.add("feedmill_rejected_total", topic=rejection.source.topic)
            if self._dead_letters_of is None:
                continue
            stage, owner = (
                self._dead_letters_of,
                TopicPartition("posts", rejection.source.partition),
            )
            if self.writer.reject(rejection, stage, work.now_ms, owner=owner):
                self.metrics.add("feedmill_letters_total")

    def _work_in_background(self, steps: Sequence[Step], end: float) -> bool:
        """Give steps turns until this thread's time is `end`; each cycle another step is first."""
        end = max(end, time.thread_time() + LEAST_S)
        self._next_step = (self._next_step + 1) % max(1, len(steps))
        more = False
        for step in (*steps[self._next_step :], *steps[: self._next_step]):
            left = end - time.thread_time()
            if left < LEAST_TURN_S:
                return True
            more = step.background(self.writer, left) or more
        return more


class Taken(NamedTuple):
    """Batches of `posts` and of `engagements`."""

    posts: list[RecordBatch]
    engagements: list[RecordBatch]


class Input:
    """Takes a cycle's input, at most `batch_records`; new settings end a wait for it."""

    def __init__(
        self,
        group: GroupConsumer,
        writer: TransactionalWriter,
        batch_records: int,
        has_new_settings: Callable[[], bool],
    ) -> None:
        self._group, self._writer = group, writer
        self._batch_records = batch_records
        self._has_new_settings = has_new_settings
        self._served_at = self._often_until = 0.0
        self._waits_beside = False

    def take(self, wait_s: float) -> Taken:
        """Take the records that are there; else wait for records or settings."""
        start = time.monotonic()
        is_often = start < self._often_until
        look_s = min(wait_s, LOOK_OFTEN_S if is_often else LOOK_S)
        beside_s = look_s if is_often and self._waits_beside else 0.0
        while True:
            posts = self._take_posts(look_s - beside_s)
            engagements = self._take_engagements(posts, 0.0 if posts else beside_s)
            now = time.monotonic()
            if posts or engagements:
                self._waits_beside = not posts
            if engagements:
                self._often_until = now + OFTEN_FOR_S
            has_new_settings = self._has_new_settings()
            if posts or engagements or has_new_settings or now >= start + wait_s:
                return Taken(posts, engagements)

    def _take_posts(self, wait_s: float) -> list[RecordBatch]:
        now, is_full = time.monotonic(), self._writer.is_full
        if is_full and now - self._served_at <= _SERVE_GROUP_EVERY_S:
            time.sleep(SOON_S)
            return []
        self._served_at = now
        # The group consumer must be polled also while Kafka takes no more.
        return self._group.poll(1 if is_full else self._batch_records, wait_s)

    def _take_engagements(self, posts: list[RecordBatch], wait_s: float) -> list[RecordBatch]:
        if self._writer.is_full:
            return []
        room = engagement_room(self._batch_records, sum(len(batch.records) for batch in posts))
        return self._group.poll_beside(room, wait_s)


def engagement_room(batch_records: int, posts: int) -> int:
    """Return how many engagements a cycle may take beside so many posts.

    Under more load than a cycle can take, posts come first.  Engagements, which cost little, keep a
    part, so that counts go on during a flood of posts.
    """
    return max(batch_records - posts, batch_records // 4, 1)
