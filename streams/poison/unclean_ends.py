"""How many workers in a row ended without giving their partitions back, as Kafka knows it.

Beside the offset of each partition its owner commits the note `ends`: so many, and that it is open.
Who gives the partition back takes the second away, so the next owner sees whether that was done.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from feedmill.filters.hide_rate_guard import WINDOW_RECORDS
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.worker.step import Writer

NOTE = "ends"
_OPEN = " open"
# More than a worker judges between two commits.
MOST_POSTS = 10_000
_READ_RECORDS = 500
_PAUSE_S = 0.005
# What stands behind an open transaction comes later, to the worker as well.
_SILENT_S = 5.0

Ranges = Mapping[TopicPartition, range]


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
