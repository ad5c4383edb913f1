"""Holds engagements back until the posts that came before them are read.

    fetch: engagements ─► of posts that are there ─► the worker
                       └► of another one, and all behind it ─► read `posts` to its end ─► the worker

Posts and engagements are read by a consumer each, and what an engagement counts for depends on its
post.  Of a post that nothing is known of only Kafka can say whether it came before.  Where `posts`
does not get on, engagements do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from feedmill.streams.kafka.batches import FetchedRecords, TopicPartition, record_bytes
from feedmill.streams.kafka.messages import Fetched
from feedmill.streams.kafka.offsets import Offsets

# A partition of `posts` that stands so long before its end is waited for no longer.
MOST_WAIT_S = 10.0


@dataclass
class _Held:
    """Records of a partition; `covered` of them had come when it was asked where `posts` ends."""

    records: FetchedRecords = field(default_factory=FetchedRecords)
    size: int = 0
    has_create_time: bool = False
    asked: Future[dict[TopicPartition, int]] | None = None
    covered: int = 0
    end: int | None = None


class PostsFirst:
    """Lets engagements through that may be counted; one thread uses it, and nothing waits.

    `is_new` says of a partition and a post whether nothing is known of it; the worker sets it.
    """

    def __init__(self, offsets: Offsets) -> None:
        self.is_new: Callable[[int, str], bool] = lambda *_: False
        self._offsets = offsets
        self._held: dict[TopicPartition, _Held] = {}
        # Where partitions of `posts` were seen before their ends, and since when they stand there.
        self._standing: dict[TopicPartition, tuple[int, float]] = {}

    @property
    def size(self) -> int:
        """The bytes of what is held."""
        return sum(held.size for held in self._held.values())

    def clear(self) -> None:
        """Forget what is held: it is read again, or another worker's."""
        self._held.clear()
        self._standing.clear()

    def take(self, fetched: Fetched, positions: Mapping[TopicPartition, int]) -> Fetched:
        """Add what was fetched; return the first records of each partition that may be counted.

        `positions` say how far `posts` was handed out; without those of partitions that nothing
        more comes from.
        """
        for source, records in fetched.records.items():
            held = self._held.get(source)
            if held is None:
                held = self._held[source] = _Held(records)
            else:
                held.records.extend(records)
                held.size += record_bytes(records.keys, records.values)
            held.has_create_time = source in fetched.create_times
        for source, end in fetched.ends.items():
            self._held.setdefault(source, _Held()).end = end
        taken = Fetched()
        for source, held in [*self._held.items()]:
            count = self._free(source.partition, held, positions)
            if count and held.has_create_time:
                taken.create_times.add(source)
            if count < len(held.records):
                self._keep(source, held, count, taken)
                continue
            if held.records:
                taken.records[source] = held.records
            if held.end is not None:
                taken.ends[source] = held.end
            del self._held[source]
        return taken

    def _keep(self, source: TopicPartition, held: _Held, count: int, taken: Fetched) -> None:
        """Take the first records, and keep the others."""
        if count or not held.size:
            first, held.records = held.records.cut(count)
            held.size = record_bytes(held.records.keys, held.records.values)
            held.covered -= count
            if first:
                taken.records[source] = first

    def _free(self, partition: int, held: _Held, positions: Mapping[TopicPartition, int]) -> int:
        """Return how many of the first records may be counted; ask about the next one."""
        posts, free = TopicPartition("posts", partition), 0
        if held.asked is not None:
            if not held.asked.done():
                return 0
            with suppress(KafkaException):  # asked again, if the broker was away
                if self._gets_on(posts, positions.get(posts), held.asked.result()[posts]):
                    return 0
                free = held.covered
            held.asked = None
        for at, key in enumerate(held.records.keys[free:], free):
            if self.is_new(partition, (key or b"").decode("utf-8", "replace")):
                held.asked, held.covered = self._offsets.readable_ends([posts]), len(held.records)
                return at
        return len(held.records)

    def _gets_on(self, posts: TopicPartition, position: int | None, end: int) -> bool:
        """Return whether a partition of `posts` is before an end, and will come to it."""
        if position is None or position >= end:
            self._standing.pop(posts, None)
            return False
        now = time.monotonic()
        if self._standing.get(posts, (-1, now))[0] != position:
            self._standing[posts] = position, now
        return now - self._standing[posts][1] < MOST_WAIT_S
