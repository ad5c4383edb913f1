"""Keeps posts that end workers from ending more of them.

    posts[p]: "open"? ─► suspects ─► JudgingChild, on a thread ─► poison, dead-letters ─► skipped

A worker commits the note `ends` beside the offset of each partition: how many workers in a row
ended without giving the partition back, and that it is open.  The next owner finds it open, and
tries the posts that may have ended its predecessor in another process.  A post that ends that
process twice is judged by no worker any more; its signals are errors.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from queue import SimpleQueue

import msgspec

from feedmill.events.reasons import DECODE_ERRORS, MAX_REASON_CHARACTERS
from feedmill.filters.hide_rate_guard import WINDOW_RECORDS
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.poison.judging_process import (
    CannotTryError,
    JudgingChild,
    JudgingTask,
    PoisonRecord,
    find_poison,
)
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.step import ModelStep, Step, Trial, Writer

log = logging.getLogger(__name__)

TOPIC = "poison"
_SOURCE = TopicPartition(TOPIC, 0)
_MOST_RECORDS = 1000
# Rare; a cycle without one should cost little.
_READ_EVERY_S = 0.1
_KEY = re.compile(r"[^/]+/posts/(\d{1,9})/(\d{1,18})")
# After so long without an end a worker forgets how the owners before it ended.
CALM_S = 60.0
NOTE = "ends"
_OPEN = " open"
# More than a worker judges between two commits.
MOST_POSTS = 10_000
_READ_RECORDS = 500
_PAUSE_S = 0.005
# Records behind an open transaction come later, to this reader and to the worker.
_SILENT_S = 5.0
Ranges = Mapping[TopicPartition, range]


class Poison(msgspec.Struct, frozen=True):
    """A value of `poison`: the stages whose worker the post ends, and how it ends the worker."""

    stages: tuple[str, ...]
    reason: str
    at_ms: int = 0


class PoisonLog:
    """The posts that the worker's `stages` must not judge.

    `by_partition` has by partition and offset why not; it is nearly always empty.  `is_restored`
    is True once the topic was read to its end.
    """

    def __init__(self, connection: Connection, stages: Sequence[str]) -> None:
        self._stages = tuple(stages)
        self.by_partition: dict[int, dict[int, str]] = {}
        self._read_at = 0.0
        self.is_restored = False
        self._log = LogConsumer(connection, TOPIC, past_hanging=(TOPIC,))
        self._log.add({_SOURCE: BEGINNING})

    def follow(self) -> None:
        """Read on, without waiting."""
        now = time.monotonic()
        if now >= self._read_at:
            for batch in self._log.read(_MOST_RECORDS):
                for record in batch.records:
                    self._take((record.key or b"").decode("utf-8", "replace"), record.value)
            self.is_restored = self.is_restored or self._log.all_restored()
            self._read_at = now + _READ_EVERY_S if self.is_restored else now

    def add(self, partition: int, record: Record, reason: str, at_ms: int, writer: Writer) -> None:
        """Let no worker judge a post from now on."""
        key = f"{'+'.join(self._stages)}/posts/{partition}/{record.offset}"
        value = msgspec.json.encode(Poison(self._stages, reason[:MAX_REASON_CHARACTERS], at_ms))
        self._take(key, value)
        owner = TopicPartition("posts", partition)
        writer.add(TOPIC, key.encode(), value, owner=owner, partition=0)

    def ready_reason(self) -> str:
        """Say that the topic is still being read; "" once it is read."""
        return self._log.ready_reason()

    def close(self) -> None:
        self._log.close()

    def _take(self, key: str, value: bytes | None) -> None:
        found = _KEY.fullmatch(key)
        if found is None:
            log.error("%s: a record with the key %.100r is no post's: ignored", TOPIC, key)
            return
        partition, offset = int(found[1]), int(found[2])
        try:
            poison = msgspec.json.decode(value, type=Poison) if value else None
        except DECODE_ERRORS as error:
            log.error("%s: the record of %s cannot be read: %s", TOPIC, key, error)
            return
        posts = self.by_partition.setdefault(partition, {})
        if poison is None:
            posts.pop(offset, None)
        elif set(poison.stages).intersection(self._stages):
            posts[offset] = poison.reason


class PoisonWatch:
    """Keeps posts that end this worker from being judged; belongs to the loop's thread.

    `in_use` returns name and sha256 of the models that judge posts at present, on any thread; a
    worker without models tries nothing.
    """

    def __init__(
        self,
        connection: Connection,
        metrics: Metrics,
        clock: LogClock,
        in_use: Callable[[], Sequence[tuple[str, str]]],
        writer: TransactionalWriter,
    ) -> None:
        self._stages = tuple(dict.fromkeys(name for name, _ in in_use()))
        self.ends = UncleanEnds()
        self.log = PoisonLog(connection, self._stages)
        self._connection = connection
        self._metrics = metrics
        self._clock = clock
        self._in_use = in_use
        self._writer = writer
        self._child = JudgingChild(self._task)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="post-trials")
        # The offsets that are not tried yet, and the job that tries them.
        self._untried: dict[TopicPartition, range] = {}
        self._job: Future[None] | None = None
        self._stop_job = threading.Event()
        self._trials: list[tuple[Trial, Future[None]]] = []
        self._found: SimpleQueue[tuple[TopicPartition, PoisonRecord]] = SimpleQueue()
        self._calm_at = 0.0
        self._epoch = 0

    def start(self, stopping: threading.Event) -> None:
        """Wait for the topic, without which nothing is judged; raises as `partition_count`."""
        self._connection.offsets.partition_count(TOPIC, stopping)

    def assigned(self, change: AssignmentChange) -> AssignmentChange:
        """Learn how the former owners ended, and which posts are to be tried.

        Returns the change with the notes that its first transaction must commit.
        """
        change = self.ends.assigned(change)
        self._epoch = change.epoch if change.owned else 0
        for partition in change.lost:
            self._untried.pop(TopicPartition("posts", partition), None)
        if self._stages:
            self._untried |= suspects(change, self.ends)
        self._stop_job.set()
        self._calm_at = time.monotonic() + CALM_S
        return change

    def give_back(self) -> bool:
        """Commit what is sealed, and that no partition is open; return whether all is committed."""
        return self._writer.revoked(self.ends.given_back())

    def allows(self, partition: int) -> bool:
        """Return whether posts of a partition may be judged: none is to be tried first."""
        return self._is_prepared() and TopicPartition("posts", partition) not in self._untried

    def allowed(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Return the steps that may have turns; those that judge wait while posts are tried."""
        is_held = any(self.ends.before(at.partition) > 1 for at in self._untried)
        if self._is_prepared() and not is_held:
            return steps
        return [step for step in steps if not isinstance(step, ModelStep)]

    def follow(self, may_try: Callable[[], bool], has_caught_up: Callable[[], bool]) -> None:
        """Take the results of trials, and begin trials that are due; called in every cycle.

        `may_try` returns whether the models of the worker are known, `has_caught_up` whether only
        new posts are left to judge.
        """
        self.log.follow()
        if not self.ends.any():
            return
        if self._job is None and not self._trials and not self._untried:
            self._look_for_calm(has_caught_up)
            return
        is_over = self._job is not None and self._job.done()
        over = [trial for trial, future in self._trials if future.done()]
        # After `is_over` and `over`: the results of these trials are in the queue.
        while not self._found.empty():
            self._condemn(*self._found.get())
        if self._job is not None and is_over:
            if error := self._job.exception():
                log.error("posts are judged without being tried before: %r", error)
            self._job = None
            if not self._stop_job.is_set():
                self._untried = {}
        for trial in over:
            trial.is_over = True
        self._trials = [pair for pair in self._trials if not pair[0].is_over]
        if self._untried and self._job is None and may_try():
            self._stop_job.clear()
            self._job = self._thread.submit(self._try_ranges, dict(self._untried))

    def try_posts(self, source: TopicPartition, records: Sequence[Record]) -> Trial | None:
        """Try posts that are to be scored again; None where no former owner ended uncleanly."""
        if not self.ends.before(source.partition):
            return None
        trial = Trial()
        future = self._thread.submit(self._guarded, [RecordBatch(source, records)])
        self._trials.append((trial, future))
        return trial

    def ready_reason(self) -> str:
        """Say what is being tried; "" if nothing is."""
        if not self._untried:
            return self.log.ready_reason()
        posts = sum(map(len, self._untried.values()))
        return f"a worker ended uncleanly: trying {posts} posts in another process"

    def close(self) -> None:
        self._stop_job.set()
        self._child.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.log.close()

    def _is_prepared(self) -> bool:
        """True once all poison is known, and the next owner would see an end of this worker."""
        is_noted = not self._epoch or self._writer.committed_epoch == self._epoch
        return is_noted and self.log.is_restored

    def _look_for_calm(self, has_caught_up: Callable[[], bool]) -> None:
        """Forget how former owners ended, once this worker has kept up for a while."""
        if time.monotonic() >= self._calm_at and has_caught_up():
            self.ends.forget(self._writer)
            self._child.close()
            self._child = JudgingChild(self._task)

    def _condemn(self, source: TopicPartition, found: PoisonRecord) -> None:
        """Let no worker judge a post: this worker from now on, others after the next commit."""
        if source.partition not in self.ends:
            # The partition has another owner by now, which finds the post, too.
            return
        record, at_ms = found.record, self._clock.now_ms()
        reason = f"judged by no model: {found.reason}"
        log.error("%s[%d] offset %d is %s", source.topic, source.partition, record.offset, reason)
        self._metrics.add("feedmill_poison_total")
        self.log.add(source.partition, record, reason, at_ms, self._writer)
        rejection = RejectedRecord(source, record, reason)
        if self._writer.reject(rejection, self._stages[0], at_ms, owner=source):
            self._metrics.add("feedmill_letters_total")

    def _task(self) -> JudgingTask:
        store = self._connection.environment.models
        return JudgingTask(tuple(self._in_use()), "" if store is None else str(store))

    # --- on the thread ------------------------------------------------------------------------

    def _try_ranges(self, ranges: Ranges) -> None:
        with closing(LogConsumer(self._connection, "posts that are tried")) as posts:
            self._guarded(read_ranges(posts, ranges, self._stop_job))

    def _guarded(self, batches: Iterable[RecordBatch]) -> None:
        """Try batches of posts; if they cannot be tried, they are judged untried."""
        try:
            for batch in batches:
                known = self.log.by_partition.get(batch.source.partition, {})
                records = [record for record in batch.records if record.offset not in known]
                for found in find_poison(records, self._child.judge):
                    self._found.put((batch.source, found))
        except CannotTryError as error:
            log.error("posts are judged without being tried before: %s", error)


class UncleanEnds:
    """How many unclean ends in a row preceded this worker, by each partition that it owns.

    `is_failed` is set when the worker ends by an error: then it gives no partition back.
    """

    def __init__(self) -> None:
        self.is_failed = False
        self._before: dict[int, int] = {}
        self._has_any = False

    def before(self, partition: int) -> int:
        """Return how many unclean ends in a row a partition had."""
        return self._before.get(partition, 0)

    def __contains__(self, partition: int) -> bool:
        return partition in self._before

    def any(self) -> bool:
        """Return whether any partition had an unclean end."""
        return self._has_any

    def assigned(self, change: AssignmentChange) -> AssignmentChange:
        """Learn how the former owners ended; return the change with notes that partitions are open.

        The notes must be committed before anything is judged.
        """
        for partition in change.lost:
            self._before.pop(partition, None)
        notes = dict(change.notes)
        for partition in change.owned:
            at = TopicPartition("posts", partition)
            of_partition = notes.get(at, {})
            if partition not in self._before:
                self._before[partition] = _read(of_partition.get(NOTE, ""))
            notes[at] = {**of_partition, NOTE: f"{self._before[partition]}{_OPEN}"}
        self._has_any = any(self._before.values())
        return replace(change, notes=notes)

    def forget(self, writer: Writer) -> None:
        """Count from zero again: this worker has judged all that may have ended former owners."""
        self._has_any = False
        for partition, count in self._before.items():
            if count:
                self._before[partition] = 0
                writer.note(TopicPartition("posts", partition), NOTE, f"0{_OPEN}")

    def given_back(self) -> Mapping[TopicPartition, Mapping[str, str]]:
        """Return notes that partitions are not open any more, for their last commit."""
        if self.is_failed:
            return {}
        return {
            TopicPartition("posts", partition): {NOTE: str(count) if count else ""}
            for partition, count in self._before.items()
        }


def suspects(change: AssignmentChange, ends: UncleanEnds) -> dict[TopicPartition, range]:
    """Return the offsets that are to be tried before they are judged again.

    After one unclean end these are the offsets that were not committed; after several in a row
    also those that a worker judges again at its start.
    """
    found = {}
    for partition in change.gained:
        source, before = TopicPartition("posts", partition), ends.before(partition)
        start, end = change.starts.get(source, 0), change.ends.get(source, 0)
        first = max(0, start - WINDOW_RECORDS) if before > 1 else start
        last = min(end, start + MOST_POSTS)
        if before and first < last:
            found[source] = range(first, last)
    return found


def read_ranges(
    log: LogConsumer, ranges: Ranges, stopping: threading.Event
) -> Iterator[RecordBatch]:
    """Yield the records of ranges, until all are read, no more come, or `stopping` is set."""
    log.add({source: offsets.start for source, offsets in ranges.items()}, or_first=True)
    came_at, left = time.monotonic(), set(ranges)
    while left and not stopping.is_set():
        for batch in log.read(_READ_RECORDS):
            within = ranges[batch.source]
            records = [record for record in batch.records if record.offset in within]
            if records:
                yield RecordBatch(batch.source, records)
            came_at = time.monotonic()
        positions = log.positions()
        for source in tuple(left & positions.keys()):
            if positions[source] >= ranges[source].stop or log.restored(source):
                left.discard(source)
                log.drop([source])
        if not positions:
            # While Kafka is away the silence does not count.
            came_at = time.monotonic()
        if time.monotonic() - came_at > _SILENT_S:
            return
        time.sleep(_PAUSE_S)


def _read(text: str) -> int:
    found = re.fullmatch(rf"(\d{{1,6}})({_OPEN})?", text)
    return 0 if found is None else int(found[1]) + bool(found[2])
