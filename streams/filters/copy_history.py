"""What came before every post, in all partitions: own ones by work, the others by a live log.

    posts ─┬ own partitions ── WorkBatch ─┐
           └ the others ─── LogConsumer ──┴► by (timestamp, partition, offset) ─► PostHistory

Both meet in one order before a cycle's posts are looked up.  A partition that a worker gains beside
others is read by the log until its work has caught up, so that its posts come in their order among
those of the others.  The honest limit: a record that another partition's leader stamps within the
same few milliseconds and that becomes readable later is folded after it, in one worker perhaps, in
another not.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from feedmill.events.post import Deletion, Post
from feedmill.features.near_copies import (
    REBUILD_MS,
    CopyCounts,
    PostHistory,
    PostRecord,
)
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TEXT_BYTES, Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.worker.decoding import read_posts
from feedmill.streams.worker.step import StepContext, WorkBatch

log = logging.getLogger(__name__)

TOPIC = "posts"
# How much is folded at once: texts and their characters take time, deletions hardly any.
SLICE_TEXTS, SLICE_CHARACTERS = 128, TEXT_BYTES // 8
LIVE_RECORDS = 2_000
# How many records of a partition may be read and not folded before it waits for the others.
MOST_WAITING = 5_000
# How many posts with copies are remembered, until the owner of their partition judges them, or
# judges them again after an expulsion.
_KEPT = 20_000
_IDLE_S = 2.0
# After so long without work, records that wait are folded without it: partitions whose work is to
# come may be behind them.  Longer than gained partitions wait for each other.
ALONE_AFTER_S = 6.0
# After a rebalance, or a rebuild, the log holds posts back for no longer.
MOST_WAIT_S = 5.0
# What an idle worker folds on its own leaves the latest second open.
_SETTLED_MS = 1_000
_CLOCK_MARGIN_MS = 60_000
_NOTHING = CopyCounts()


class _Pending(NamedTuple):
    """A record that was read and not folded; sorts in the order of the fold."""

    at_ms: int
    partition: int
    offset: int
    row: int
    version: PostRecord


class CopyHistory:
    """Reads all of `posts`, and says of a cycle's posts which copies came before them.

    `assigned` at a rebalance, `read` in every cycle, `pasts` for every batch, `fold_idle` where no
    batch came.  It begins with the first partition that may come, twice the window before its
    posts.
    """

    def __init__(self, context: StepContext, open_log: Callable[[str], LogConsumer]) -> None:
        self._count = partitions = context.partitions
        self._clock = context.clock
        self._poisoned = context.poisoned
        self._log = open_log("the posts before, of all partitions")
        self._history = PostHistory()
        self._waiting: dict[int, deque[_Pending]] = {p: deque() for p in range(partitions)}
        self._latest_ms = dict.fromkeys(range(partitions), 0)
        # By partition the offset that is queued next.
        self._next: dict[int, int] = {}
        # Gained partitions up to whose first post the log is still read.
        self._until: dict[int, int] = {}
        self._owned: set[int] = set()
        # Owned partitions that the log still reads, ahead of their work.
        self._ahead: set[int] = set()
        self._paused: set[int] = set()
        self._pasts: dict[tuple[int, int], CopyCounts] = {}
        # When the first post was written of each partition that a rebuild has to serve.
        self._stamps: dict[int, int | None] | None = None
        self._serves_from_ms = 0
        self._is_begun = self._is_rebuilt = False
        self._worked_at = self._waits_since = 0.0

    # --- assignments ----------------------------------------------------------------------

    def assigned(self, change: AssignmentChange) -> None:
        """Move gained partitions from the log to the work, and lost ones back."""
        self._waits_since = time.monotonic()
        for partition in change.lost:
            self._owned.discard(partition)
            self._until.pop(partition, None)
            self._ahead.discard(partition)
        self._owned |= set(change.gained)
        starts = {p: change.starts.get(TopicPartition(TOPIC, p), 0) for p in change.gained}
        if self._is_begun:
            self._go_on(change.lost, starts)
            return
        for partition in change.lost:
            self._forget_stamp(partition)
        if not starts:
            return
        self._until.update(starts)
        self._ask_stamps(change)

    def prepare(self, likely: AssignmentChange) -> None:
        """Begin before the first posts of partitions that may come, which others still have."""
        if not (self._is_begun or self._stamps):
            self._ask_stamps(likely)

    @property
    def is_prepared(self) -> bool:
        """Whether what `prepare` began with is there."""
        return self._is_rebuilt or not (self._is_begun or self._stamps)

    def _ask_stamps(self, change: AssignmentChange) -> None:
        self._stamps = self._stamps or {}
        ask = {}
        for partition in change.gained:
            source = TopicPartition(TOPIC, partition)
            start = change.starts.get(source, 0)
            self._stamps[partition] = None
            if start >= change.ends.get(source, 0):
                self._stamps[partition] = self._clock.now_ms()
            else:
                ask[source] = start
        self._log.drop(ask)
        # Records that are gone delay no others; the consumer group says whether they are missed.
        self._log.add(ask, or_first=True)

    def _forget_stamp(self, partition: int) -> None:
        if self._stamps is not None:
            self._stamps.pop(partition, None)
            self._log.drop([TopicPartition(TOPIC, partition)])

    def _go_on(self, lost: Iterable[int], starts: dict[int, int]) -> None:
        for partition, start in starts.items():
            self._ahead.add(partition)
            if self._next.get(partition, -1) < start:
                self._until[partition] = start
        for partition in {*lost, *self._until}:
            if partition in self._next:
                self._read_log(partition)

    def _read_log(self, partition: int) -> None:
        """Read a partition's log on from its last queued record."""
        source = TopicPartition(TOPIC, partition)
        self._paused.discard(partition)
        self._log.drop([source])
        self._log.add({source: self._next[partition]}, or_first=True)

    def _leave_log(self, partition: int) -> None:
        """Expect a partition's records by work from its last queued record on."""
        self._ahead.discard(partition)
        self._paused.discard(partition)
        self._log.drop([TopicPartition(TOPIC, partition)])

    def is_ready(self, partition: int) -> bool:
        """Whether what came before the partition's first post is known, in all partitions."""
        return self._is_rebuilt and partition not in self._until and self._knows_others()

    def _knows_others(self) -> bool:
        """Whether the log was read to its end and brings what is written now, or is too slow."""
        late = time.monotonic() > self._waits_since + MOST_WAIT_S
        return late or self._log.all_live()

    def ready_reason(self) -> str:
        """Say what is still to be read; "" if nothing is."""
        is_read = self._is_rebuilt and not self._until and self._knows_others()
        if not self._owned or is_read:
            return ""
        doing = "folding" if not self._is_rebuilt or self._until else "waiting for the end of"
        return self._log.ready_reason() or f"{doing} {self._log.name}"

    # --- reading ---------------------------------------------------------------------------

    def read(self) -> bool:
        """Queue what the log has, without waiting, and fold a slice of a rebuild.

        Return whether a restore has more to do.
        """
        if not (self._owned or self._is_begun or self._stamps):
            return False
        for batch in self._read():
            if self._is_begun:
                self._queue(batch)
            elif self._stamps is not None and batch.source.partition in self._stamps:
                self._stamps[batch.source.partition] = batch.records[0].timestamp
                self._log.drop([batch.source])
        if not self._is_begun:
            self._try_to_begin()
            return True
        self._update_positions()
        if not self._is_rebuilt:
            self._rebuild()
        elif self._waits_in_vain():
            self._fold(self._slice(math.inf))
        return not self._is_rebuilt or bool(self._until)

    def _read(self) -> list[RecordBatch]:
        return self._log.read(LIVE_RECORDS, most_bytes=TEXT_BYTES // 4)

    def _waits_in_vain(self) -> bool:
        """Whether partitions far ahead wait for work that does not come, and work for them."""
        since = max(self._worked_at, self._waits_since)
        return not self._paused.isdisjoint(self._until) and time.monotonic() > since + ALONE_AFTER_S

    def _try_to_begin(self) -> None:
        if not self._stamps:
            return
        for partition, at_ms in self._stamps.items():
            if at_ms is None and self._log.restored(TopicPartition(TOPIC, partition)):
                self._stamps[partition] = self._clock.now_ms()
        known = [at_ms for at_ms in self._stamps.values() if at_ms is not None]
        if len(known) < len(self._stamps):
            return
        self._serves_from_ms = min(known)
        since_ms = self._serves_from_ms - REBUILD_MS - _CLOCK_MARGIN_MS
        sources = [TopicPartition(TOPIC, p) for p in range(self._count)]
        self._log.drop(sources)
        self._log.add_since(dict.fromkeys(sources, since_ms))
        self._is_begun, self._stamps = True, None
        log.info("the post history begins %d s ago", (self._clock.now_ms() - since_ms) // 1000)

    def _queue(self, batch: RecordBatch) -> None:
        partition = batch.source.partition
        if self._comes_by_work(partition):
            return
        # What was read before the partition was dropped from the log, or comes by work.
        first = self._next.get(partition, 0)
        end = math.inf if partition in self._ahead else self._until.get(partition, math.inf)
        records = [record for record in batch.records if first <= record.offset < end]
        if not records:
            return
        self._next[partition] = records[-1].offset + 1
        of_log = RecordBatch(batch.source, records)
        found = read_posts(of_log, self._count, self._poisoned.get(partition, {}))
        self._waiting[partition].extend(self._pending(partition, r, e, -1) for r, e in found.events)

    def _pending(
        self, partition: int, record: Record, event: Post | Deletion, row: int
    ) -> _Pending:
        # Time does not go back within a partition, whatever the broker's clock did, but a stamp in
        # the future is one of now.
        most_ms = self._clock.now_ms() + _CLOCK_MARGIN_MS
        at_ms = min(max(self._latest_ms[partition], record.timestamp), most_ms)
        self._latest_ms[partition] = at_ms
        if isinstance(event, Post):
            version = PostRecord(at_ms, event.post_id, event.author_id, event.text)
        else:
            version = PostRecord(at_ms, event.post_id, "", None)
        return _Pending(at_ms, partition, record.offset, row, version)

    def _comes_by_work(self, partition: int) -> bool:
        return partition in self._owned and partition not in {*self._until, *self._ahead}

    def _update_positions(self) -> None:
        """Leave partitions that come by work from here on, and pause those far ahead."""
        for source, position in self._log.positions().items():
            partition = source.partition
            if partition not in self._paused:
                self._next[partition] = max(position, self._next.get(partition, 0))
            until = self._until.get(partition)
            if until is not None and position >= until:
                del self._until[partition]
                if partition not in self._ahead:
                    self._next[partition] = until
                    self._leave_log(partition)
            elif self._is_far_ahead(partition, MOST_WAITING):
                self._paused.add(partition)
                self._log.drop([source])
        for partition in tuple(self._paused):
            if not self._is_far_ahead(partition, MOST_WAITING // 2):
                self._read_log(partition)

    def _is_far_ahead(self, partition: int, most: int) -> bool:
        # What has the partition's latest time cannot be folded before a later record was read.
        waiting = self._waiting[partition]
        return len(waiting) > most and waiting[0].at_ms < self._latest_ms[partition]

    # --- folding ---------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Fold a slice of what is complete: every partition was read up to its time."""
        complete_ms = min((self._complete_ms(p) for p in range(self._count)), default=0)
        until_ms = min(complete_ms, self._serves_from_ms)
        self._fold(self._slice(until_ms))
        left = any(w and w[0].at_ms <= until_ms for w in self._waiting.values())
        if complete_ms >= self._serves_from_ms and not left:
            self._is_rebuilt, self._waits_since = True, time.monotonic()

    def _complete_ms(self, partition: int) -> int:
        source = TopicPartition(TOPIC, partition)
        if self._comes_by_work(partition) and partition in self._next:
            return self._serves_from_ms
        if partition not in self._paused and self._log.restored(source):
            return self._serves_from_ms
        return self._latest_ms[partition] - 1

    def _slice(self, until_ms: float) -> list[_Pending]:
        return self._ready(until_ms, LIVE_RECORDS, SLICE_TEXTS, SLICE_CHARACTERS)

    def _ready(
        self, until_ms: float, most: float, most_texts: float, most_characters: float
    ) -> list[_Pending]:
        """Remove and return the first waiting records up to a time, in the order of the fold."""
        taken: list[_Pending] = []
        texts = characters = 0
        while len(taken) < most and texts < most_texts and characters < most_characters:
            heads = [w[0] for w in self._waiting.values() if w and w[0].at_ms <= until_ms]
            if not heads:
                break
            taken.append(self._waiting[min(heads)[1]].popleft())
            if text := taken[-1].version.text:
                texts += 1
                characters += len(text)
        return taken

    def fold_idle(self) -> bool:
        """Fold a slice of what others wrote while no post comes; return whether there is more.

        Not to be called before all own posts came that are older.
        """
        if not self._is_rebuilt or time.monotonic() - self._worked_at < _IDLE_S:
            return False
        ready = self._slice(self._clock.now_ms() - _SETTLED_MS)
        self._fold(ready)
        return bool(ready)

    def pasts(self, work: WorkBatch) -> Sequence[CopyCounts]:
        """Fold a cycle's records, and what others wrote before them; return each post's copies."""
        self._worked_at = time.monotonic()
        # Posts of others may have come with the cycle's own, or while the loop waited for them.
        for batch in self._read():
            self._queue(batch)
        own: list[_Pending] = []
        until_ms = 0
        for part in work.partitions:
            partition, rows = part.source.partition, iter(part.rows)
            known, end = self._next.get(partition, 0), part.events[-1][0].offset + 1
            for record, event in part.events:
                row = next(rows) if isinstance(event, Post) else -1
                if record.offset >= known:
                    own.append(self._pending(partition, record, event, row))
            for pending in self._waiting[partition]:
                if pending.offset >= end:
                    break
                until_ms = pending.at_ms if pending.at_ms > until_ms else until_ms
            if end >= known:
                self._next[partition] = end
                if partition in self._ahead:
                    self._leave_log(partition)
        until_ms = max(until_ms, *[pending.at_ms for pending in own], 0)
        others = self._ready(until_ms, math.inf, math.inf, math.inf)
        self._fold(sorted([*own, *others]) if others or len(own) > 1 else own, work)
        if not self._pasts:
            return [_NOTHING] * len(work.posts)
        places = (
            (part.source.partition, work.records[row].offset)
            for part in work.partitions
            for row in part.rows
        )
        return [self._pasts.get(place, _NOTHING) for place in places]

    def _fold(self, ready: Sequence[_Pending], work: WorkBatch | None = None) -> None:
        if not ready:
            return
        versions = [pending.version for pending in ready]
        if work is None:
            found = self._history.fold(versions)
        else:
            found = self._history.fold(versions, [pending.row for pending in ready], work.posts)
        for pending, past in zip(ready, found, strict=True):
            if past.copies:
                self._pasts[pending.partition, pending.offset] = past
        while len(self._pasts) > _KEPT:
            del self._pasts[next(iter(self._pasts))]

    def close(self) -> None:
        self._log.close()
