"""Hands waiting posts out in the order of their times, over all partitions of a worker.

    fetch: 600 records of partition 0, 600 of partition 1, ...
      └─► one queue a partition ─► up to the time that every partition was read to ─► the worker

A worker that comes back finds minutes of posts in each partition, and a fetch brings a part of one
partition.  A filter's value of a post may depend on earlier posts in other partitions.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from heapq import merge
from itertools import chain, islice, repeat, takewhile
from operator import itemgetter

from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.kafka.batches import FetchedRecords, TopicPartition, record_bytes
from feedmill.streams.kafka.messages import Fetched

# How long a partition that brings nothing is waited for.
MOST_WAIT_S = 1.0
# How long gained partitions wait for each other, so that they begin together.
TOGETHER_S = 5.0
# Records leave a queue in parts, so that each part costs only its own size.
_PART_RECORDS = 1_000


class Together:
    """Lets the partitions that an assignment gained begin at the same time, if they can."""

    def __init__(self) -> None:
        self._held_since = 0.0

    def among(self, gained: set[int], ready: set[int]) -> set[int]:
        """Return the ready partitions; of the gained ones none while some are not ready."""
        if gained <= ready or not gained & ready:
            return ready
        now = time.monotonic()
        self._held_since = self._held_since or now
        return ready if now > self._held_since + TOGETHER_S else ready - gained


def backlog_of(sources: Collection[TopicPartition], environment: Environment) -> Backlog | None:
    """Return the backlog of these partitions; None for one partition, which is in order itself."""
    if len(sources) <= 1:
        return None
    return Backlog(sources, memory_shares(environment).backlog_bytes)


class Backlog:
    """Queues of the partitions that a worker began to read and has not read to their end.

    Records of other partitions pass at once.  Beyond `most_bytes` the oldest records pass although
    a partition has brought nothing to compare.  One thread uses it; nothing waits.
    """

    def __init__(self, sources: Iterable[TopicPartition], most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._queues = {source: _Queue() for source in sorted(sources)}
        self._behind = set(self._queues)
        self._read_to: dict[TopicPartition, int] = {}
        self._create_times: set[TopicPartition] = set()
        self._moved_at = time.monotonic()

    @property
    def unfinished(self) -> Set[TopicPartition]:
        """The partitions that are not yet read to their end, or not yet handed out up to there."""
        return self._behind.union(source for source, queue in self._queues.items() if queue.parts)

    @property
    def is_over(self) -> bool:
        """True once every partition was read to its end, and all records were handed out."""
        return not self.unfinished

    def leave(self, source: TopicPartition) -> None:
        """Stop to wait for a partition that brings nothing."""
        self._behind.discard(source)

    def ready_count(self) -> int:
        """Return how many records `take` could hand out without another fetch."""
        until_ms = self._until_ms()
        return sum(queue.count_before(until_ms) for queue in self._queues.values())

    def take(self, fetched: Fetched, most: int, most_bytes: float = math.inf) -> Fetched:
        """Add what was fetched; return the first records, by (time, partition, offset).

        These are at most `most` records of about `most_bytes`; records of partitions without a
        queue come in addition.
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
            if source not in self._queues or not self._queues[source].parts:
                taken.ends[source] = self._read_to.pop(source)
        return taken

    def _first(self, most: int, most_bytes: float) -> Mapping[TopicPartition, int]:
        """Return how many of the first records each partition has."""
        if time.monotonic() - self._moved_at > MOST_WAIT_S:
            self._behind &= {source for source, queue in self._queues.items() if queue.parts}
        until_ms = self._until_ms()
        queued = [
            zip(queue.times(), repeat(source), queue.values())
            for source, queue in self._queues.items()
        ]
        heads = merge(*queued, key=itemgetter(0, 1))
        before = takewhile(lambda head: head[0] < until_ms, heads)
        counts = Counter[TopicPartition]()
        size = 0
        for _, source, value in islice(before, most):
            counts[source] += 1
            size += len(value or b"")
            if size >= most_bytes:
                break
        if counts or not any(queue.parts for queue in self._queues.values()):
            self._moved_at = time.monotonic()
        return counts

    def _until_ms(self) -> float:
        """Return the time up to which every partition was read."""
        if sum(queue.size for queue in self._queues.values()) > self._most_bytes:
            return math.inf
        return min((self._queues[source].latest_ms for source in self._behind), default=math.inf)


class _Queue:
    """Records of one partition; their times do not go back, whatever the broker's clock did."""

    __slots__ = ("latest_ms", "parts", "size")

    def __init__(self) -> None:
        # No part is empty.
        self.parts: deque[tuple[FetchedRecords, list[int]]] = deque()
        self.latest_ms = self.size = 0

    def times(self) -> Iterator[int]:
        return chain.from_iterable(times for _, times in self.parts)

    def values(self) -> Iterator[bytes | None]:
        return chain.from_iterable(part.values for part, _ in self.parts)

    def count_before(self, until_ms: float) -> int:
        count = 0
        for _, times in self.parts:
            count += bisect_left(times, until_ms)
            if times[-1] >= until_ms:
                break
        return count

    def add(self, records: FetchedRecords) -> None:
        if not self.parts or len(self.parts[-1][1]) >= _PART_RECORDS:
            self.parts.append((FetchedRecords(), []))
        part, times = self.parts[-1]
        part.extend(records)
        self.size += _size(records)
        for at_ms in records.timestamps:
            self.latest_ms = max(self.latest_ms, at_ms)
            times.append(self.latest_ms)

    def take(self, count: int) -> FetchedRecords:
        taken = FetchedRecords()
        while count > 0:
            part, times = self.parts.popleft()
            first, others = part.cut(count)
            if others:
                self.parts.appendleft((others, times[count:]))
            taken.extend(first)
            count -= len(first)
        self.size -= _size(taken)
        return taken


def _size(records: FetchedRecords) -> int:
    return record_bytes(records.keys, records.values)
