"""The posts before the first of each gained partition, read once for all who judge them again.

    gained --> read to its first post, what leaves the window is dropped --> handed on in slices

A filter's hide rates depend on the last posts of a partition, whose next posts wait meanwhile.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import (
    WINDOW_BYTES,
    WINDOW_MS,
    WINDOW_RECORDS,
    time_after,
)
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.batches import TEXT_BYTES, Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.worker.decoding import read_posts
from feedmill.streams.worker.step import NO_POISON, StepContext

# What takes of one partition's posts: about two milliseconds of three models, less of long texts.
Taker = Callable[[int, Sequence[Record], PostBatch], None]
SLICE_RECORDS, SLICE_BYTES = 64, TEXT_BYTES // 8
_READ_RECORDS, _READ_BYTES = 500, TEXT_BYTES
# Behind the last post, which may fail: the next one may have an earlier timestamp.
_KEPT_MS = WINDOW_MS + 60_000
# So many windows are kept at a time, each of `WINDOW_BYTES` at most.
_AT_ONCE = 4


@dataclass
class _Window:
    """The window before an offset, read from `first` on; `is_read` once all of it is there."""

    until: int
    first: int
    is_begun: bool = False
    is_read: bool = False
    posts: deque[tuple[Record, Post]] = field(default_factory=deque)
    times: deque[int] = field(default_factory=deque)
    size: int = 0

    def append(self, record: Record, post: Post) -> None:
        """Add the next post, and remove those that leave before the first that comes."""
        at_ms = time_after(self.times[-1] if self.times else 0, record.timestamp)
        self.posts.append((record, post))
        self.times.append(at_ms)
        self.size += _size(record)
        while (
            self.times[0] <= at_ms - _KEPT_MS or self.size - _size(self.posts[0][0]) >= WINDOW_BYTES
        ):
            self.times.popleft()
            self.size -= _size(self.posts.popleft()[0])

    def slice(self) -> list[tuple[Record, Post]]:
        taken: list[tuple[Record, Post]] = []
        size = 0
        while self.posts and len(taken) < SLICE_RECORDS and size < SLICE_BYTES:
            taken.append(self.posts.popleft())
            size += _size(taken[-1][0])
        return taken


class PostWindows:
    """Reads the windows of gained partitions for the filters of a worker, which share it.

    Each filter calls `hand_to` once, `prepare` and `assigned` at a rebalance and `work` in every
    cycle, all in one thread; the first call does what is to be done.

    Attributes
    ----------
    kept
        The partitions of the last assignment whose posts are handed on behind those of `prepare`.
    """

    def __init__(self) -> None:
        self._log: LogConsumer | None = None
        self._count = 0
        self._poisoned = NO_POISON
        self._takers: list[Taker] = []
        self._epoch = 0
        # By partition what is not handed on, in the order in which it is read.
        self._windows: dict[int, _Window] = {}
        # Of partitions that may come, before which offset their window is.
        self._ahead: dict[int, int] = {}
        self.kept: frozenset[int] = frozenset()

    def hand_to(
        self, taker: Taker, context: StepContext, open_log: Callable[[str], LogConsumer]
    ) -> None:
        """Hand the posts of all windows to `taker`, too, in the order of each window's offsets.

        A post that is poisoned is in no window.
        """
        self._takers.append(taker)
        self._count, self._poisoned = context.partitions, context.poisoned
        self._log = self._log or open_log("the posts before, for the hide rates")

    def assigned(self, change: AssignmentChange) -> None:
        """Drop the windows of lost partitions, begin with those of gained ones."""
        if change.epoch == self._epoch:
            return
        self._epoch = change.epoch
        starts = {p: change.starts.get(TopicPartition(POSTS, p), 0) for p in change.gained}
        ahead, self._ahead = self._ahead, {}
        whole = ahead.keys() - self._windows.keys()
        self.kept = frozenset(p for p in whole & starts.keys() if ahead[p] <= starts[p])
        gone = {*change.lost, *change.gained, *ahead}
        for partition in gone:
            self._windows.pop(partition, None)
        if self._log is not None:
            self._log.drop(TopicPartition(POSTS, partition) for partition in gone)
        for partition, start in starts.items():
            self._begin(partition, start, ahead[partition] if partition in self.kept else None)

    def prepare(self, likely: AssignmentChange) -> None:
        """Begin with the windows of partitions that may come; `assigned` says which do."""
        for partition in likely.gained:
            if partition not in self._ahead:
                start = self._ahead[partition] = likely.starts[TopicPartition(POSTS, partition)]
                self._begin(partition, start)

    @property
    def is_prepared(self) -> bool:
        """Whether all windows of partitions that may come were handed on."""
        return self._ahead.keys().isdisjoint(self._windows)

    def _begin(self, partition: int, until: int, first: int | None = None) -> None:
        first = max(0, until - WINDOW_RECORDS) if first is None else first
        if first < until:
            self._windows[partition] = _Window(until, first)

    def is_ready(self, partition: int) -> bool:
        """Return whether the window before the partition's first post was handed on."""
        return partition not in self._windows

    def ready_reason(self) -> str:
        """Say what is still to be read; "" if nothing is."""
        if self._windows.keys() <= self._ahead.keys() or self._log is None:
            return ""
        return self._log.ready_reason() or self._log.name

    def work(self, budget_s: float) -> bool:
        """Read and hand on for so much of the thread's time; return whether there was work."""
        if not self._windows:
            return False
        until, has_worked = time.thread_time() + budget_s, False
        while True:
            has_read = self._read()
            if not (self._hand_on() or has_read):
                return has_worked
            has_worked = True
            if time.thread_time() >= until:
                return True

    def close(self) -> None:
        """Let go of the reader."""
        log, self._log, self._windows = self._log, None, {}
        if log is not None:
            log.close()

    def _hand_on(self) -> bool:
        """Hand on a slice of the first window that was read; return whether there was one."""
        partition = next((p for p, window in self._windows.items() if window.is_read), None)
        if partition is None:
            return False
        window = self._windows[partition]
        if taken := window.slice():
            records, posts = [record for record, _ in taken], PostBatch([post for _, post in taken])
            for take in self._takers:
                take(partition, records, posts)
        if not window.posts:
            del self._windows[partition]
        return True

    def _read(self) -> bool:
        if self._log is None or all(window.is_read for window in self._windows.values()):
            return False
        starts = {}
        for partition, window in islice(self._windows.items(), _AT_ONCE):
            if not window.is_begun:
                window.is_begun = True
                starts[TopicPartition(POSTS, partition)] = window.first
        # What retention removed is not in the window.
        self._log.add(starts, or_first=True)
        batches = self._log.read(_READ_RECORDS, most_bytes=_READ_BYTES)
        for batch in batches:
            self._keep(batch)
        positions, is_over = self._log.positions(), False
        for source, position in positions.items():
            window = self._windows[source.partition]
            if position >= window.until or self._log.restored(source):
                window.is_read = is_over = True
                self._log.drop([source])
        return bool(batches) or is_over

    def _keep(self, batch: RecordBatch) -> None:
        partition = batch.source.partition
        window = self._windows.get(partition)
        if window is None:
            return
        poisoned = self._poisoned.get(partition, {})
        records = [
            record
            for record in batch.records
            if record.offset < window.until and record.offset not in poisoned
        ]
        for record, event in read_posts(RecordBatch(batch.source, records), self._count, {}).events:
            if isinstance(event, Post):
                window.append(record, event)


def _size(record: Record) -> int:
    return len(record.value or b"")
