"""The hide-rate guard of one filter: the flagged shares of the partitions a worker owns.

A gained partition's window is scored again, in slices, before its posts come.  It is read twice:
where it begins is known when it was read to its end.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from feedmill.events.decode import decode_post
from feedmill.events.decode_many import decode_posts
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import (
    CAPPED,
    HideLimit,
    HideRates,
    ScoredPosts,
    hide_limit,
    sources_of_all,
)
from feedmill.filters.source_window import WINDOW_BYTES, WINDOW_RECORDS
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import (
    TEXT_BYTES,
    FetchedRecord,
    Record,
    RecordBatch,
    TopicPartition,
)
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.kafka.validation import validate_batch
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.worker.step import Poisoned, Turn, WorkBatch, no_poison

log = logging.getLogger(__name__)

# About a millisecond of a model's time; less of long texts.
SLICE_RECORDS, SLICE_BYTES = 64, TEXT_BYTES // 8
# Of records that are measured only.
_MEASURED_RECORDS = 500
# An alarm ends below this part of the cap, so that it does not come and go with every post.
_OVER_BELOW = 0.8
_NEVER = 2.0
_NO_LIMIT = HideLimit(_NEVER, _NEVER)


@dataclass
class _Window:
    """The window before an offset, of which the posts are measured, then scored."""

    until: int
    phase: Literal["measure", "wait", "score"] = "measure"
    # Offsets and bytes of its posts.
    posts: deque[tuple[int, int]] = field(default_factory=deque)
    size: int = 0

    def measure(self, offset: int, size: int) -> None:
        """Take the next post in, and those out that leave before the first that comes."""
        self.posts.append((offset, size))
        self.size += size
        while self.size - self.posts[0][1] >= WINDOW_BYTES:
            self.size -= self.posts.popleft()[1]


class FilterGuard:
    """Lowers values that would hide too much of a community, a language or a host.

    `assigned` at a rebalance, `read` in every cycle, `lower` for every batch.

    Parameters
    ----------
    name
        The filter.
    cap
        The share of a source's posts that may be flagged.
    partitions
        How many `posts` has.
    score
        What the model that judges a partition says of some posts.
    open_log
        Makes the reader of the windows.

    Attributes
    ----------
    poisoned
        Says which posts no model may judge, so that they are in no window.
    sources
        Those of which too much is flagged.
    turn
        Shared with the other guards of the worker, whose windows are of the same posts.
    """

    def __init__(
        self,
        name: str,
        cap: float,
        partitions: int,
        metrics: Metrics,
        score: Callable[[PostBatch, int], BatchVerdicts],
        open_log: Callable[[str], LogConsumer],
    ) -> None:
        self._name = name
        self._cap = cap
        self._count = partitions
        self._metrics = metrics
        self._score = score
        self.poisoned: Poisoned = no_poison
        self.turn = Turn()
        self.sources: set[str] = set()
        self._to_read: dict[TopicPartition, int] = {}
        self._log = open_log("the posts before, for the hide rates")
        self._limit: HideLimit | None = None
        self._rates: dict[int, HideRates] = {}
        # By partition the window that is still read.
        self._windows: dict[int, _Window] = {}
        self._again, self._again_by, self._again_count = HideRates(_NEVER, cap), "", 0

    def settings_changed(self, settings: Settings) -> None:
        """Follow the thresholds that are in force."""
        self._limit = hide_limit(settings, self._name)
        for rates in self._rates.values():
            rates.set_flagged_at(self._flagged_at)

    @property
    def _flagged_at(self) -> float:
        return _NEVER if self._limit is None else self._limit.hide_at

    def assigned(self, change: AssignmentChange) -> None:
        """Drop what was lost, begin to read the windows of what was gained."""
        for partition in change.lost:
            self._rates.pop(partition, None)
            self._windows.pop(partition, None)
            self._to_read.pop(TopicPartition("posts", partition), None)
        self._log.drop(TopicPartition("posts", p) for p in (*change.lost, *change.gained))
        for partition in change.gained:
            source = TopicPartition("posts", partition)
            self._rates[partition] = HideRates(self._flagged_at, self._cap)
            start = change.starts.get(source, 0)
            if start > 0:
                self._windows[partition] = _Window(start)
                self._to_read[source] = max(0, start - WINDOW_RECORDS)
        self._report({})

    def is_ready(self, partition: int) -> bool:
        """Whether the window before the partition's first post is known."""
        return partition not in self._windows

    def ready_reason(self) -> str:
        """Say what is read still; "" if nothing is."""
        return self._log.ready_reason() or self._log.name if self._windows else ""

    def read(self) -> bool:
        """Score a slice of the windows; return whether there is more of them."""
        if not self._windows:
            self.turn.give(self)
            return False
        if not self.turn.take(self):
            return True
        if self._to_read:
            # What retention removed is not in the window.
            self._log.add(self._to_read, or_first=True)
            self._to_read = {}
        phases = {window.phase for window in self._windows.values()}
        most = SLICE_RECORDS if "score" in phases else _MEASURED_RECORDS
        for batch in self._log.read(most, most_bytes=SLICE_BYTES):
            self._take(batch)
        positions = self._log.positions()
        for partition, window in tuple(self._windows.items()):
            source = TopicPartition("posts", partition)
            if positions.get(source, -1) >= window.until or self._log.restored(source):
                self._log.drop([source])
                if window.phase == "score" or not window.posts:
                    del self._windows[partition]
                window.phase = "wait"
        self._score_measured()
        return bool(self._windows)

    def _score_measured(self) -> None:
        """Read the windows again that were measured, when all were: slices are small then."""
        phases = {window.phase for window in self._windows.values()}
        if "measure" in phases or "wait" not in phases:
            return
        begin = {}
        for partition, window in self._windows.items():
            if window.phase == "wait":
                window.phase = "score"
                begin[TopicPartition("posts", partition)] = window.posts[0][0]
        self._log.add(begin, or_first=True)

    def lower(self, work: WorkBatch, verdicts: BatchVerdicts) -> None:
        """Fold a cycle's posts, in the order of offsets; lower what must not hide."""
        over: dict[str, float] = {}
        lowered: dict[int, tuple[float, str]] = {}
        limit = self._limit or _NO_LIMIT
        for part in work.partitions:
            rates = self._rates.get(part.source.partition)
            if rates is None:
                continue
            rows = [*part.rows]
            if verdicts.errors:
                rows = [row for row in rows if row not in verdicts.errors]
            records = [work.records[row] for row in rows]
            for at, source, share in rates.fold(_scored(records, rows, work.posts, verdicts)):
                if verdicts.values[rows[at]] >= limit.hide_at:
                    over[source] = share
                    lowered[rows[at]] = _lowered(limit, source, share)
        if lowered:
            verdicts.lower(lowered)
            self._metrics.add("feedmill_capped_total", len(lowered))
        if over or self.sources:
            self._report(over)

    def lower_again(self, version: str, posts: PostBatch, verdicts: BatchVerdicts) -> None:
        """Lower what must not hide of n earlier posts that a version of the model scores again.

        They have rates of their own, in the order in which they come.
        """
        if self._again_by != version:
            self._again_by = version
            self._again, self._again_count = HideRates(self._flagged_at, self._cap), 0
        self._again.set_flagged_at(self._flagged_at)
        rows = [row for row in range(len(posts)) if row not in verdicts.errors]
        records = [FetchedRecord(self._again_count + row, 0, None, None) for row in rows]
        self._again_count += len(posts)
        limit = self._limit or _NO_LIMIT
        found = self._again.fold(_scored(records, rows, posts, verdicts))
        verdicts.lower(
            {
                rows[at]: _lowered(limit, source, share)
                for at, source, share in found
                if verdicts.values[rows[at]] >= limit.hide_at
            }
        )

    def close(self) -> None:
        self.turn.give(self)
        self._log.close()

    def _report(self, over: Mapping[str, float]) -> None:
        """Log which sources began and ended to be over the cap; their names, never a text."""
        for source in over.keys() - self.sources:
            self.sources.add(source)
            log.warning(
                "%s flags %.0f %% of %s, more than %.0f %%: it demotes there instead of hiding",
                self._name, 100 * over[source], source, 100 * self._cap,
            )  # fmt: skip
        for source in tuple(self.sources):
            if not any(rates.is_over(source, _OVER_BELOW) for rates in self._rates.values()):
                self.sources.discard(source)
                log.warning("%s no longer flags too much of %s", self._name, source)
        self._metrics.set("feedmill_capped_sources", len(self.sources))

    def _take(self, batch: RecordBatch) -> None:
        """Measure the posts of a window, or score them again."""
        partition = batch.source.partition
        window = self._windows.get(partition)
        if window is None:
            return
        poisoned = self.poisoned(partition)
        records = [
            record
            for record in batch.records
            if record.offset < window.until and record.offset not in poisoned
        ]
        found = validate_batch(
            RecordBatch(batch.source, records), self._count, decode_post, decode_posts
        )
        posts = [(record, event) for record, event in found.events if isinstance(event, Post)]
        if window.phase == "measure":
            for record, _ in posts:
                window.measure(record.offset, len(record.value or b""))
            return
        read = PostBatch([post for _, post in posts])
        verdicts = self._score(read, partition)
        rows = [row for row in range(len(read)) if row not in verdicts.errors]
        scored = _scored([posts[row][0] for row in rows], rows, read, verdicts)
        self._rates[partition].fold(scored)


def _scored(
    records: Sequence[Record], rows: Sequence[int], posts: PostBatch, verdicts: BatchVerdicts
) -> ScoredPosts:
    """Return the posts at these rows, which have these records, as their model judges them."""
    value = verdicts.values.item
    return ScoredPosts(
        [record.offset for record in records],
        [record.timestamp for record in records],
        [len(record.value or b"") for record in records],
        [value(row) for row in rows],
        posts.computed(sources_of_all),
        rows,
    )


def _lowered(limit: HideLimit, source: str, share: float) -> tuple[float, str]:
    return limit.lowered, f"{CAPPED}{source} has {share:.0%} flagged"
