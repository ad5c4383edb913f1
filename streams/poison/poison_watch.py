"""Keeps posts that end workers from ending more of them.

    posts[p]: "open"? ─► suspects ─► JudgingChild, on a thread ─► poison, dead-letters ─► skipped

A worker that ends without giving its partitions back leaves the note `ends`.  Whoever has them next
tries the posts that may have been the cause in another process.  What ends that process twice is
judged by no worker any more; its signals are errors.
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
# So long a worker must have gone on before the ends of those before it are forgotten.
CALM_S = 60.0
NOTE = "ends"
_OPEN = " open"
# More than a worker judges between two commits.
MOST_POSTS = 10_000
_READ_RECORDS = 500
_PAUSE_S = 0.005
# What stands behind an open transaction comes later, to the worker as well.
_SILENT_S = 5.0
Ranges = Mapping[TopicPartition, range]


class Poison(msgspec.Struct, frozen=True):
    """A value of the topic: the stages whose worker the post ends, and how it does."""

    stages: tuple[str, ...]
    reason: str
    at_ms: int = 0


class PoisonLog:
    """The posts that these stages must not judge, by partition and offset.

    Parameters
    ----------
    connection
        To Kafka.
    stages
        Those of the worker that judge posts.

    Attributes
    ----------
    by_partition
        Why posts are not judged, by partition and offset; nearly always empty.
    is_restored
        Whether it was read to its end.
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
        """Keep a post from being judged from now on, and write it down for others."""
        key = f"{'+'.join(self._stages)}/posts/{partition}/{record.offset}"
        value = msgspec.json.encode(Poison(self._stages, reason[:MAX_REASON_CHARACTERS], at_ms))
        self._take(key, value)
        owner = TopicPartition("posts", partition)
        writer.add(TOPIC, key.encode(), value, owner=owner, partition=0)

    def ready_reason(self) -> str:
        """Say that it is read still; "" if it is not."""
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
    """What a worker does about posts that end it; belongs to the loop's thread.

    Parameters
    ----------
    connection, metrics, clock, writer
        The worker's.
    in_use
        Returns name and sha256 of the models by which it judges posts at present; without any
        nothing is tried.  Called on another thread, too.
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
        # What is not tried yet, and the job that tries it.
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
        """Learn how the owners before ended, and what is to be tried.

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
        """Commit what is sealed, and that nothing is open; return whether all is committed."""
        return self._writer.revoked(self.ends.given_back())

    def allows(self, partition: int) -> bool:
        """Return whether posts of a partition may be judged: nothing of it is to be tried first."""
        return self._is_prepared() and TopicPartition("posts", partition) not in self._untried

    def allowed(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Return the steps that may have turns: none that judges posts before what it restores."""
        is_held = any(self.ends.before(at.partition) > 1 for at in self._untried)
        if self._is_prepared() and not is_held:
            return steps
        return [step for step in steps if not isinstance(step, ModelStep)]

    def follow(self, may_try: Callable[[], bool], has_caught_up: Callable[[], bool]) -> None:
        """Take what was found, and have tried what is to be; called in every cycle.

        `may_try` says whether it is known by which models the worker judges, `has_caught_up`
        whether it has nothing to judge but what is new.
        """
        self.log.follow()
        if not self.ends.any():
            return
        if self._job is None and not self._trials and not self._untried:
            self._look_for_calm(has_caught_up)
            return
        is_over = self._job is not None and self._job.done()
        over = [trial for trial, future in self._trials if future.done()]
        # Behind the questions: what is over has been found.
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
        """Have posts tried that are to be scored again; None where no owner before ended so."""
        if not self.ends.before(source.partition):
            return None
        trial = Trial()
        future = self._thread.submit(self._guarded, [RecordBatch(source, records)])
        self._trials.append((trial, future))
        return trial

    def ready_reason(self) -> str:
        """Say what is tried; "" if nothing is."""
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
        """Whether it is known what is poison, and an end from here on is seen by the next owner."""
        is_noted = not self._epoch or self._writer.committed_epoch == self._epoch
        return is_noted and self.log.is_restored

    def _look_for_calm(self, has_caught_up: Callable[[], bool]) -> None:
        """Forget the ends before, once this worker has done for a while all that there is to do."""
        if time.monotonic() >= self._calm_at and has_caught_up():
            self.ends.forget(self._writer)
            self._child.close()
            self._child = JudgingChild(self._task)

    def _condemn(self, source: TopicPartition, found: PoisonRecord) -> None:
        """Keep a post from being judged: by this worker now, by others with the next commit."""
        if source.partition not in self.ends:
            # It is another worker's by now, which finds it as well.
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
        """Try batches; where that is impossible they pass."""
        try:
            for batch in batches:
                known = self.log.by_partition.get(batch.source.partition, {})
                records = [record for record in batch.records if record.offset not in known]
                for found in find_poison(records, self._child.judge):
                    self._found.put((batch.source, found))
        except CannotTryError as error:
            log.error("posts are judged without being tried before: %s", error)


class UncleanEnds:
    """The unclean ends before this worker, by the partitions that it owns.

    `is_failed` is set where the worker ends by an error: then nothing is given back.
    """

    def __init__(self) -> None:
        self.is_failed = False
        self._before: dict[int, int] = {}
        self._has_any = False

    def before(self, partition: int) -> int:
        """Return how many there were in a row."""
        return self._before.get(partition, 0)

    def __contains__(self, partition: int) -> bool:
        return partition in self._before

    def any(self) -> bool:
        """Return whether any partition had one."""
        return self._has_any

    def assigned(self, change: AssignmentChange) -> AssignmentChange:
        """Learn how the owners before ended; return the change with notes that it has one now.

        They are to be committed before anything is judged.
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
        """Begin to count anew: this worker has done all that the ones before may have ended in."""
        self._has_any = False
        for partition, count in self._before.items():
            if count:
                self._before[partition] = 0
                writer.note(TopicPartition("posts", partition), NOTE, f"0{_OPEN}")

    def given_back(self) -> Mapping[TopicPartition, Mapping[str, str]]:
        """Return the notes that nothing is open any more, for the last commit of partitions."""
        if self.is_failed:
            return {}
        return {
            TopicPartition("posts", partition): {NOTE: str(count) if count else ""}
            for partition, count in self._before.items()
        }


def suspects(change: AssignmentChange, ends: UncleanEnds) -> dict[TopicPartition, range]:
    """Return what is to be tried before it is judged again.

    After one unclean end that is what had not been committed.  After several in a row, it is also
    what a worker judges again at its start.
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
    """Yield the records of ranges; ends where no more can be read, or when it is stopped."""
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
            # Where Kafka is away nothing else goes on either.
            came_at = time.monotonic()
        if time.monotonic() - came_at > _SILENT_S:
            return
        time.sleep(_PAUSE_S)


def _read(text: str) -> int:
    found = re.fullmatch(rf"(\d{{1,6}})({_OPEN})?", text)
    return 0 if found is None else int(found[1]) + bool(found[2])
