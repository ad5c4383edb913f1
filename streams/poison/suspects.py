"""The posts that a worker before may have ended in, as ranges of offsets, and their records."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from feedmill.filters.source_window import WINDOW_RECORDS
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.poison.unclean_ends import UncleanEnds

# More than a worker judges between two commits.
MOST_POSTS = 10_000
_READ_RECORDS = 500
_PAUSE_S = 0.005
# What stands behind an open transaction comes later, to the worker as well.
_SILENT_S = 5.0

Ranges = Mapping[TopicPartition, range]


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
