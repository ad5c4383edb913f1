"""Reads partitions of `posts` from a place back to the first record of a time, slice by slice."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer

SLICE_OFFSETS = 2_000
_READ_RECORDS = 500


@dataclass
class _Slice:
    """What lies between two offsets of a partition; `records` came so far."""

    source: TopicPartition
    low: int
    below: int
    records: list[Record] = field(default_factory=list)


class BackwardReader:
    """Reads some partitions in turns: the last slice of each, then the slice before it, and so on.

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
