"""Hands the posts that wait for a worker out in the order of their times, over all partitions.

    fetch: 600 records of partition 0, 600 of partition 1, ...
      └─► one queue a partition ─► up to the time that every partition was read to ─► the worker

A worker that comes back finds partitions that are minutes long, and one fetch brings a part of one
of them.  What it says of a post may depend on the posts before it in other partitions.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from heapq import merge
from itertools import islice, repeat, takewhile
from operator import itemgetter

from feedmill.streams.kafka.batches import FetchedRecords, TopicPartition
from feedmill.streams.kafka.messages import Fetched

# Beyond so many the first records go on, though a partition has brought nothing to compare; a
# partition that brings nothing for so long is waited for no longer.
MOST_BYTES = 32 * 1024 * 1024
MOST_WAIT_S = 1.0
# Gained partitions begin together, but wait no longer than this for one that is not restored.
TOGETHER_S = 5.0


class Together:
    """Lets the partitions that an assignment gained begin at the same time, if they can."""

    def __init__(self) -> None:
        self._held_since = 0.0

    def among(self, gained: set[int], ready: set[int]) -> set[int]:
        """Return the ready partitions, without gained ones while others of them are not ready."""
        if gained <= ready or not gained & ready:
            return ready
        now = time.monotonic()
        self._held_since = self._held_since or now
        return ready if now > self._held_since + TOGETHER_S else ready - gained


class Backlog:
    """Queues of the partitions that were not read to their end since a worker began with them.

    Records of other partitions go through at once.  One thread uses it; nothing waits.
    """

    def __init__(self, sources: Iterable[TopicPartition]) -> None:
        self._queues = {source: _Queue() for source in sorted(sources)}
        self._behind = set(self._queues)
        self._read_to: dict[TopicPartition, int] = {}
        self._create_times: set[TopicPartition] = set()
        self._moved_at = time.monotonic()

    @property
    def unfinished(self) -> Set[TopicPartition]:
        """The partitions that were not read to their end yet, or not handed out to it."""
        return self._behind.union(source for source, queue in self._queues.items() if queue.times)

    @property
    def is_over(self) -> bool:
        """Whether every partition was read to its end, and all of it handed out."""
        return not self.unfinished

    def leave(self, source: TopicPartition) -> None:
        """Wait no longer for a partition from which nothing comes."""
        self._behind.discard(source)

    def ready_count(self) -> int:
        """Return how many records `take` has to hand out without more."""
        until_ms = self._until_ms()
        return sum(bisect_left(queue.times, until_ms) for queue in self._queues.values())

    def take(self, fetched: Fetched, most: int, most_bytes: float = math.inf) -> Fetched:
        """Add what was fetched; return the first records, by (time, partition, offset).

        At most `most`, of about `most_bytes`, and those of partitions that are not waited for
        beside them.
        """
        taken = Fetched(create_times=fetched.create_times | self._create_times)
        for source, records in fetched.records.items():
            if source not in self._queues:
                taken.records[source] = records
                continue
            self._queues[source].add(records)
            if source in fetched.create_times:
                self._create_times.add(source)
        for source, end in fetched.ends.items():
            self.leave(source)
            self._read_to[source] = end
        for source, count in self._first(most, most_bytes).items():
            taken.records[source] = self._queues[source].take(count)
        for source in tuple(self._read_to):
            if source not in self._queues or not self._queues[source].times:
                taken.ends[source] = self._read_to.pop(source)
        return taken

    def _first(self, most: int, most_bytes: float) -> Mapping[TopicPartition, int]:
        """Return by partition how many of the first records are its own."""
        if time.monotonic() - self._moved_at > MOST_WAIT_S:
            self._behind &= {source for source, queue in self._queues.items() if queue.times}
        until_ms = self._until_ms()
        queued = [
            zip(queue.times, repeat(source), queue.records.values)
            for source, queue in self._queues.items()
        ]
        before = takewhile(
            lambda head: head[0] < until_ms, merge(*queued, key=itemgetter(0, 1))
        )
        counts = Counter[TopicPartition]()
        size = 0
        for _, source, value in islice(before, most):
            counts[source] += 1
            size += len(value or b"")
            if size >= most_bytes:
                break
        if counts or not any(queue.times for queue in self._queues.values()):
            self._moved_at = time.monotonic()
        return counts

    def _until_ms(self) -> float:
        """Return the time that every partition was read to."""
        if sum(queue.size for queue in self._queues.values()) > MOST_BYTES:
            return math.inf
        return min((self._queues[source].latest_ms for source in self._behind), default=math.inf)


class _Queue:
    """Records of one partition; their `times` do not go back, whatever the broker's clock did."""

    __slots__ = ("latest_ms", "records", "size", "times")

    def __init__(self) -> None:
        self.records = FetchedRecords()
        self.times: list[int] = []
        self.latest_ms = self.size = 0

    def add(self, records: FetchedRecords) -> None:
        self.records.extend(records)
        self.size += _size(records)
        for at_ms in records.timestamps:
            self.latest_ms = max(self.latest_ms, at_ms)
            self.times.append(self.latest_ms)

    def take(self, count: int) -> FetchedRecords:
        taken, self.records = self.records.cut(count)
        del self.times[:count]
        self.size -= _size(taken)
        return taken


def _size(records: FetchedRecords) -> int:
    return sum(map(len, filter(None, records.values)))
