"""What a pass over the posts of the last week is made of: notes, a wait for signals, a reader."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from feedmill.events.post import Deletion
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.worker.step import LatestEvent, Writer

log = logging.getLogger(__name__)

# Instead of a version while a pass is under way: some posts are under another version.
MIXED = "-"
SLICE_OFFSETS = 2_000
_READ_RECORDS = 500
_UNSEEN_WITHIN_S = 60.0


class NotedVersion:
    """Under which version of something the posts of each partition are, beside the one in force.

    Attributes
    ----------
    note
        The name under which that is committed beside the offset of a partition.
    in_force
        The version in force.
    of
        By partition the version under which all of its posts are.
    """

    def __init__(self, note: str) -> None:
        self.note = note
        self.in_force = ""
        self.of: dict[int, str] = {}
        self._noted: dict[int, str] = {}

    def gain(self, partition: int, text: str, without: str) -> None:
        """Begin with the text of a partition's note; `without` holds where there is none."""
        self.of[partition] = text or without
        self._noted[partition] = text

    def lose(self, partition: int) -> None:
        self.of.pop(partition, None)
        self._noted.pop(partition, None)

    def narrow(self) -> None:
        """Count partitions whose posts are under more parts than are in force as under these.

        A version is words: the model, then the parts that it judges.
        """
        first, *parts = self.in_force.split() or [""]
        for partition, version in self.of.items():
            was_first, *had = version.split() or [""]
            if was_first == first and set(parts) <= set(had):
                self.of[partition] = self.in_force

    def behind(self) -> list[int]:
        """Return the partitions with posts that are not under the version in force."""
        return sorted(p for p, version in self.of.items() if version != self.in_force)

    def mark_mixed(self, partition: int, writer: Writer) -> None:
        """Note that the posts of a partition are under several versions."""
        self.of[partition] = MIXED
        self._write(partition, writer)

    def write(self, writer: Writer) -> None:
        """Note which partitions are under the version in force."""
        for partition, version in self.of.items():
            if version == self.in_force:
                self._write(partition, writer)

    def _write(self, partition: int, writer: Writer) -> None:
        if self._noted[partition] != self.of[partition]:
            self._noted[partition] = self.of[partition]
            writer.note(TopicPartition("posts", partition), self.note, self.of[partition])


class _SignalOffset(msgspec.Struct):
    post_offset: int


_decode_offset = msgspec.json.Decoder(_SignalOffset).decode


def _is_shown_by(last: LatestEvent, record: Record) -> bool:
    """Whether a record of the signals is of this version, or a later one."""
    if record.key != (last.record.key or b""):
        return False
    if not record.value:
        return isinstance(last.event, Deletion)
    try:
        return _decode_offset(record.value).post_offset >= last.record.offset
    except DECODE_ERRORS:
        return False


class UnseenSignals:
    """What a worker wrote last of some partitions of a topic: it may not be committed yet."""

    def __init__(self, topic: str, last: dict[int, LatestEvent]) -> None:
        self._topic = topic
        self._last = last
        self._began_at = time.monotonic()

    def see(self, batch: RecordBatch) -> None:
        """Take note of a batch of the signals."""
        last = self._last.get(batch.source.partition)
        if last is not None and any(_is_shown_by(last, one) for one in batch.records):
            del self._last[batch.source.partition]

    def wait(self) -> bool:
        """Whether signals of this worker are still to be committed; given up after a minute."""
        if self._last and time.monotonic() - self._began_at > _UNSEEN_WITHIN_S:
            log.warning("the last signals of %s do not appear on their topic", self._topic)
            self._last.clear()
        return bool(self._last)


@dataclass
class _Slice:
    """What lies between two offsets of a partition; `records` came so far."""

    source: TopicPartition
    low: int
    below: int
    records: list[Record] = field(default_factory=list)


class BackwardReader:
    """Reads partitions of `posts` from a place back to the first record of a time.

    In turns: the last slice of each, then the slice before it, and so on.

    Parameters
    ----------
    log
        Reads nothing else meanwhile.
    ends
        By partition the offset before which to begin.
    since_ms
        Records before the first one of this time, Unix milliseconds, are left out.
    """

    def __init__(self, log: LogConsumer, ends: Mapping[TopicPartition, int], since_ms: int) -> None:
        self._log = log
        self._ends = dict(ends)
        self._firsts: dict[TopicPartition, int] = {}
        self._below = dict(ends)
        self._turns: deque[TopicPartition] = deque(ends)
        self._slice: _Slice | None = None
        log.add_since(dict.fromkeys(ends, since_ms))

    @property
    def is_done(self) -> bool:
        """Whether everything was read."""
        return not self._turns and self._slice is None

    @property
    def left(self) -> float:
        """The fraction of the offsets that was not read yet."""
        if len(self._firsts) < len(self._ends):
            return 1.0
        spans = [end - self._firsts[at] for at, end in self._ends.items()]
        rest = [max(0, self._below[at] - first) for at, first in self._firsts.items()]
        return sum(rest) / max(1, sum(max(0, span) for span in spans))

    @property
    def stopped(self) -> bool:
        """Whether records were removed that were to be read: begin anew."""
        return bool(self._log.stopped)

    def read(self) -> RecordBatch | None:
        """Return a slice, in the order of its offsets; None: it is still to come, or none is left.

        Of a slice without records none is returned either.
        """
        batches = self._log.read(_READ_RECORDS)
        if len(self._firsts) < len(self._ends):
            self._find_firsts(batches)
            return None
        if self._slice is None:
            self._begin()
            return None
        now = self._slice
        for batch in batches:
            now.records += [record for record in batch.records if record.offset < now.below]
        if self._log.positions().get(now.source, -1) < now.below:
            return None
        self._log.drop([now.source])
        self._slice = None
        self._below[now.source] = now.low
        self._turns.append(now.source)
        return RecordBatch(now.source, now.records) if now.records else None

    def close(self) -> None:
        """Read no more."""
        self._log.drop(self._ends)

    def _find_firsts(self, batches: list[RecordBatch]) -> None:
        for batch in batches:
            self._firsts.setdefault(batch.source, batch.records[0].offset)
        for source, position in self._log.positions().items():
            self._firsts.setdefault(source, position)
        if len(self._firsts) == len(self._ends):
            self._log.drop(self._ends)

    def _begin(self) -> None:
        while self._turns:
            source = self._turns.popleft()
            below, first = self._below[source], self._firsts[source]
            if below > first:
                low = max(first, below - SLICE_OFFSETS)
                self._slice = _Slice(source, low, below)
                self._log.add({source: low}, or_first=True)
                return
