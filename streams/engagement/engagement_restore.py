"""Restores what the engagement step knows of a partition, in slices, before it reads on.

First `counters[p]` to its end, then the `engagements[p]` before the committed offset that say which
events repeat others or come in a burst: half an hour, and two days as far as users are known.
Who joins others reads `counters` of all partitions before, and goes on with those that it gets.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from feedmill.events.decode import decode_engagement
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, WAITING, LogConsumer
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.streams.kafka.validation import validate_batch

_SLICE_RECORDS = 125
# How much processor time one call may take, beside the slice that it ends with.
_BUDGET_S = 0.005
_POLL_EVERY_S = 1.0
# Posts that are read ahead, of some 130 bytes; further partitions are read once they have come.
MOST_AHEAD = 1_000_000


@dataclass
class _Restoring:
    state: PartitionState
    start: int  # the offset of `engagements` that is read next
    end: int  # where `engagements` ended at the assignment
    # Then "stamp", "minutes", "day", where one record each is looked for, "events", "done".
    # Before it is known whether the partition comes: "ahead".
    phase: str = "counters"
    back: int = 1  # how far before `start` the stamp is looked for
    first: int = 0  # from where on users are known


class EngagementRestore:
    """Partitions being restored; `read` is called in every cycle and never waits.

    Attributes
    ----------
    has_more
        Whether the last `read` ended by its time: the next one need not wait for records.
    """

    def __init__(self, connection: Connection, partitions: int) -> None:
        self._count = partitions
        # Past open transactions: counts say through which engagement they go, so none counts twice.
        self._counters = LogConsumer(
            connection, "counters", past_hanging=["counters"], waiting=WAITING
        )
        self._events = LogConsumer(connection, "recent engagements")
        self._partitions: dict[int, _Restoring] = {}
        self._trouble = ""
        self._idle_until = 0.0
        self.has_more = False

    def read_ahead(self, partition: int, state: PartitionState) -> None:
        """Begin with the counters of a partition that may come, until `begin` or `drop`."""
        self._partitions[partition] = _Restoring(state, 0, 0, "ahead")
        self._counters.add({TopicPartition("counters", partition): BEGINNING})

    def unknown(self, partitions: Iterable[int]) -> list[int]:
        """Return those of some partitions that were not begun, nor read ahead."""
        return [partition for partition in partitions if partition not in self._partitions]

    @property
    def ahead(self) -> set[int]:
        """The partitions that are read ahead."""
        return {p for p, part in self._partitions.items() if part.phase == "ahead"}

    def is_ahead(self) -> bool:
        """Whether all that is read ahead was read to its end."""
        return all(self._counters.restored(TopicPartition("counters", p)) for p in self.ahead)

    def begin(self, partition: int, state: PartitionState, start: int, end: int) -> PartitionState:
        """Restore a partition whose engagements are read from `start` on; return its state.

        That is the state given, or the one into which the partition was read ahead.
        """
        source, position = TopicPartition("counters", partition), BEGINNING
        ahead = self._partitions.get(partition)
        if ahead is not None:
            # Up to the present end: the former owner of the partition went on counting.
            state, position = ahead.state, self._counters.positions().get(source, BEGINNING)
            self._counters.drop([source])
        self._partitions[partition] = _Restoring(state, start, end)
        self._counters.add({source: position}, or_first=True)
        return state

    def drop(self, partitions: Iterable[int]) -> None:
        """Stop to restore these partitions."""
        for partition in partitions:
            self._partitions.pop(partition, None)
            self._counters.drop([TopicPartition("counters", partition)])
            self._events.drop([TopicPartition("engagements", partition)])

    def has_counts(self, partition: int) -> bool:
        """Whether the partition's posts are known, as far as there are counts of them."""
        found = self._partitions.get(partition)
        return found is None or found.phase != "counters"

    def is_done(self, partition: int) -> bool:
        """Whether the partition's state is whole."""
        found = self._partitions.get(partition)
        return found is None or found.phase == "done"

    def ready_reason(self) -> str:
        """Say what is restored still, or cannot be; "" if all is."""
        if self._trouble or all(
            part.phase in ("done", "ahead") for part in self._partitions.values()
        ):
            return self._trouble
        return self._counters.ready_reason() or "reading the engagements of today"

    def read(self) -> int:
        """Read what is there, for some ms; return how many `counters` records are unreadable."""
        now = time.monotonic()
        if now < self._idle_until and self._is_all_done():
            self.has_more = False
            return 0
        # Clients are polled even if nothing is to be restored: else they keep errors for ever.
        self._idle_until = now + _POLL_EVERY_S
        unreadable, end = 0, time.thread_time() + _BUDGET_S
        while True:
            counters = self._counters.read(_SLICE_RECORDS)
            for batch in counters:
                part = self._partitions.get(batch.source.partition)
                if part is not None:
                    unreadable += part.state.restore(batch.records)
            events = self._events.read(_SLICE_RECORDS)
            for batch in events:
                self._take_events(batch)
            positions = self._events.positions()
            for partition, part in self._partitions.items():
                source = TopicPartition("engagements", partition)
                if part.phase == "counters":
                    self._end_counters(partition, part)
                elif positions.get(source, -1) >= part.start:
                    self._end_events(source, part)
            self.has_more = bool(counters or events)
            if not self.has_more or time.thread_time() >= end:
                self._bound_ahead()
                return unreadable

    def _bound_ahead(self) -> None:
        counts = {p: len(self._partitions[p].state) for p in sorted(self.ahead)}
        while sum(counts.values()) > MOST_AHEAD:
            partition, _ = counts.popitem()
            self.drop([partition])

    def close(self) -> None:
        self._counters.close()
        self._events.close()

    def _is_all_done(self) -> bool:
        return all(part.phase == "done" for part in self._partitions.values())

    def _end_counters(self, partition: int, part: _Restoring) -> None:
        source = TopicPartition("counters", partition)
        if not self._counters.restored(source):
            return
        self._counters.drop([source])
        if part.state.furthest >= part.end:
            self._trouble = (
                f"`counters` knows an engagement at offset {part.state.furthest}, but"
                f" engagements[{partition}] ends at {part.end}: the topic was created anew; delete"
                " `counters` too, or use another FEEDMILL_TOPIC_PREFIX"
            )
            return
        part.phase = "stamp" if part.start > 0 else "done"
        if part.phase == "stamp":
            self._look_back(TopicPartition("engagements", partition), part)

    def _look_back(self, source: TopicPartition, part: _Restoring) -> None:
        """Read from some offsets before the committed one: a record there has the stamp."""
        self._events.add({source: max(0, part.start - part.back)}, or_first=True)

    def _end_events(self, source: TopicPartition, part: _Restoring) -> None:
        """Go on after all was read up to the committed offset."""
        self._events.drop([source])
        if part.phase == "stamp" and part.back < part.start:
            # Only markers of transactions and aborted records were there.
            part.back *= 2
            self._look_back(source, part)
        else:
            part.phase = "done"

    def _take_events(self, batch: RecordBatch) -> None:
        part = self._partitions.get(batch.source.partition)
        if part is None or part.phase == "done":
            return
        first = batch.records[0]
        if part.phase == "stamp":
            # The last record before the committed offset, or one not far from it, says from when
            # on the log is needed.
            self._read_since(batch.source, part.state.log_needed(first.timestamp))
            part.phase = "minutes"
        elif part.phase == "minutes":
            part.first = part.state.users_needed(first.offset)
            # What users did yesterday says what counts today.
            self._read_since(batch.source, (first.timestamp // DAY_MS - 1) * DAY_MS)
            part.phase = "day"
        elif part.phase == "day" and first.offset < part.first:
            self._events.drop([batch.source])
            self._events.add({batch.source: part.first}, or_first=True)
            part.phase = "events"
        else:
            part.phase = "events"
            self._restore_events(batch, part)

    def _read_since(self, source: TopicPartition, since_ms: int) -> None:
        self._events.drop([source])
        self._events.add_since({source: since_ms})

    def _restore_events(self, batch: RecordBatch, part: _Restoring) -> None:
        records = [record for record in batch.records if record.offset < part.start]
        if records:
            found = validate_batch(
                RecordBatch(batch.source, records), self._count, decode_engagement
            )
            part.state.restore_events(found.events)
