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
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from heapq import merge
from itertools import chain, islice, repeat, takewhile
from operator import itemgetter

from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.kafka.batches import FetchedRecords, TopicPartition, record_bytes
from feedmill.streams.kafka.messages import Fetched

# A partition that brings nothing for so long is waited for no longer.
MOST_WAIT_S = 1.0
# Gained partitions begin together, but wait no longer than this for one that is not restored.
TOGETHER_S = 5.0
# A queue is taken from by parts: each costs what it has, not what the queue has.
_PART_RECORDS = 1_000


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


def backlog_of(sources: Collection[TopicPartition], environment: Environment) -> Backlog | None:
    """Return the backlog of what waits in these partitions; None: one has its order by itself."""
    if len(sources) <= 1:
        return None
    return Backlog(sources, memory_shares(environment).backlog_bytes)


class Backlog:
    """Queues of the partitions that were not read to their end since a worker began with them.

    Records of other partitions go through at once.  Beyond `most_bytes` the first records go on,
    though a partition has brought nothing to compare.  One thread uses it; nothing waits.
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
        """The partitions that were not read to their end yet, or not handed out to it."""
        return self._behind.union(source for source, queue in self._queues.items() if queue.parts)

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
        return sum(queue.count_before(until_ms) for queue in self._queues.values())

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
            if source not in self._queues or not self._queues[source].parts:
                taken.ends[source] = self._read_to.pop(source)
        return taken

    def _first(self, most: int, most_bytes: float) -> Mapping[TopicPartition, int]:
        """Return by partition how many of the first records are its own."""
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
        """Return the time that every partition was read to."""
        if sum(queue.size for queue in self._queues.values()) > self._most_bytes:
            return math.inf
        return min((self._queues[source].latest_ms for source in self._behind), default=math.inf)


class _Queue:
    """Records of one partition; their times do not go back, whatever the broker's clock did."""

    __slots__ = ("latest_ms", "parts", "size")

    def __init__(self) -> None:
        # Never empty ones.
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
