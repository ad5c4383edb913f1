"""Which offsets may be committed: the end of the longest finished prefix of each partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from feedmill.streams.kafka.batches import RecordBatch, TopicPartition


class Ledger:
    """Books batches in and out; a batch may finish before an earlier one.

    Attributes
    ----------
    done
        By partition where its finished work ends, committed or not.
    notes
        By partition what is committed beside its offset, for whoever takes it over next; None
        where nothing was committed yet.
    """

    def __init__(self) -> None:
        self._open: dict[TopicPartition, deque[int]] = {}
        self._finished: dict[TopicPartition, set[int]] = {}
        self._committable: dict[TopicPartition, int] = {}
        self.done: dict[TopicPartition, int] = {}
        self.notes: dict[TopicPartition, str | None] = {}
        self._starts: dict[TopicPartition, int] = {}

    def begin(self, batch: RecordBatch) -> None:
        """Book a batch that was fetched."""
        self._open.setdefault(batch.source, deque()).append(batch.end)

    def finish(self, batch: RecordBatch) -> None:
        """Book a batch whose effects are acknowledged; one of a revoked partition is ignored."""
        waiting = self._open.get(batch.source)
        if waiting is None or batch.end not in waiting:
            return
        finished = self._finished.setdefault(batch.source, set())
        finished.add(batch.end)
        while waiting and waiting[0] in finished:
            end = waiting.popleft()
            finished.discard(end)
            self._committable[batch.source] = self.done[batch.source] = end

    def take(self) -> dict[TopicPartition, int]:
        """Offsets to commit that were not taken before."""
        committable, self._committable = self._committable, {}
        return committable

    def note(self, source: TopicPartition, text: str) -> None:
        """Commit this beside the offset of a partition, now and with every offset to come."""
        self.notes[source] = text
        self._committable.setdefault(source, self.done[source])

    def restart(
        self, starts: Mapping[TopicPartition, int], notes: Mapping[TopicPartition, str | None] = {}
    ) -> None:
        """Have exactly these partitions, each from its offset on; what was open is dropped."""
        self.done, self.notes = dict(starts), dict(notes)
        self._starts = dict(starts)
        self._open.clear()
        self._finished.clear()
        self._committable.clear()

    def start_of(self, source: TopicPartition) -> int:
        """The offset from which a partition was taken over, 0 if it is not ours."""
        return self._starts.get(source, 0)

    @property
    def in_flight(self) -> int:
        """How many batches are not finished."""
        return sum(map(len, self._open.values()))
