"""What came before every post, the same in every instance: all of `posts`, read without a group.

Records are folded in merged order: by timestamp, then partition, then offset.  A batch is judged
once everything is folded that had a timestamp up to the batch's newest and was readable when it was
asked for.  The honest limit: a record that another partition's leader stamps within the same few
milliseconds and makes readable later is folded after it, in one instance perhaps, in another not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from aiokafka.errors import KafkaError

from feedmill.events.decode import decode_post
from feedmill.events.post import Post
from feedmill.features.history.post_history import (
    REBUILD_MS,
    CopyCounts,
    PostHistory,
    PostVersion,
)
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.kafka.validation import validate_batch
from feedmill.streams.settings.clock import now_ms

log = logging.getLogger(__name__)

TOPIC = "posts"
# Folding holds the event loop up: some 20 ms at a time.
_AT_ONCE = 2000
# Posts with something to tell that are remembered until they are judged.
_KEPT = 50_000
_IDLE_S = 2.0
_KEEP_UP_EVERY_S = 0.5
# Between records that an idle instance reads on its own the latest second is left open.
_SETTLED_MS = 1000
_CLOCK_MARGIN_MS = 60_000
_NOTHING = CopyCounts()


class _PendingVersion(NamedTuple):
    """A record that was read and not folded."""

    at_ms: int
    partition: int
    offset: int
    version: PostVersion


class HashedPosts(NamedTuple):
    """Posts that are about to be judged, so that their texts are not hashed once more here.

    `rows` has by partition and offset where each stands in `posts`.
    """

    rows: Mapping[tuple[int, int], int]
    posts: PostBatch


class PostHistoryReader:
    """Reads on as far as a batch needs, never further than one fetch a partition.

    `begin` on assignment, `cover` before judging, `past` for each post; `keep_up` runs beside and
    reads on while nothing is judged.  `new_reader` makes a reader of these partitions of `posts`,
    for None of all.
    """

    def __init__(self, new_reader: Callable[[Sequence[int] | None], LogReader]) -> None:
        self._new_reader = new_reader
        self._reader: LogReader | None = None
        self._lock = asyncio.Lock()
        self._covered_at = 0.0
        self._reset()

    def _reset(self) -> None:
        self._history = PostHistory()
        self._waiting: dict[int, deque[_PendingVersion]] = {}
        self._latest_ms: dict[int, int] = {}
        self._known_from: dict[int, int] = {}
        self._pasts: dict[tuple[int, int], CopyCounts] = {}
        self._told: deque[tuple[int, int]] = deque()

    async def begin(self, starts: Mapping[TopicPartition, int]) -> None:
        """Be able to tell the past of all records from these offsets on.

        Begins anew, twice the window before the earliest of them, unless it has been there.
        """
        async with self._lock:
            known = self._known_from
            if not known or any(known[s.partition] > start for s, start in starts.items()):
                await self._begin_at(starts)

    async def _begin_at(self, starts: Mapping[TopicPartition, int]) -> None:
        await self.stop()
        self._reset()
        reader = self._reader = self._new_reader(None)
        await reader.start()
        since_ms = min([await self._time_of(s, start) for s, start in starts.items()] or [now_ms()])
        since_ms -= REBUILD_MS + _CLOCK_MARGIN_MS
        ends = await self._ends()
        for source, end in ends.items():
            first = await reader.offset_at(source, since_ms)
            first = end if first is None else first
            reader.seek(source, first)
            self._waiting[source.partition] = deque()
            self._known_from[source.partition] = min(first, starts.get(source, first))
        log.info("the memory of posts begins %d s ago", (now_ms() - since_ms) // 1000)
        # Now rather than before the first verdict.
        await self._fold_until(since_ms + REBUILD_MS, {}, ends)

    async def _time_of(self, source: TopicPartition, start: int) -> int:
        """The timestamp of the first record from an offset on; now if there is none."""
        ends = await self._connected.end_of([source])
        if start >= ends[source]:
            return now_ms()
        reader = self._new_reader([source.partition])
        await reader.start({source: start})
        try:
            while True:
                for batch in await reader.read():
                    return batch.records[0].timestamp
        finally:
            await reader.stop()

    async def cover(self, batches: Sequence[RecordBatch], read: HashedPosts | None = None) -> None:
        """Read and fold on until the past of these batches' posts is known; `read` is of them."""
        async with self._lock:
            self._covered_at = time.monotonic()
            first = {batch.source: batch.records[0].offset for batch in reversed(batches)}
            if any(self._known_from[s.partition] > offset for s, offset in first.items()):
                await self._begin_at(first)
            self._connected.eager = True
            needed = {batch.source.partition: batch.end for batch in batches}
            until_ms = max(record.timestamp for batch in batches for record in batch.records)
            await self._fold_until(until_ms, needed, await self._ends(), read)

    def past(self, partition: int, offset: int) -> CopyCounts:
        """What came before a post of a batch that is covered."""
        return self._pasts.get((partition, offset), _NOTHING)

    async def keep_up(self) -> None:
        """Read on, for ever, while no batch asks for it."""
        while True:
            await asyncio.sleep(_KEEP_UP_EVERY_S)
            if self._reader is None or time.monotonic() - self._covered_at < _IDLE_S:
                continue
            async with self._lock:
                self._connected.eager = False
                await self._fold_until(now_ms() - _SETTLED_MS, {}, await self._ends())

    async def stop(self) -> None:
        """Disconnect."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    async def _ends(self) -> dict[TopicPartition, int]:
        """Where the partitions end now; waits while Kafka is away."""
        reader = self._connected
        sources = [TopicPartition(TOPIC, p) for p in range(reader.partitions[TOPIC])]
        while True:
            try:
                return await reader.end_of(sources)
            except KafkaError as error:
                log.warning("where `posts` ends is not known, asking again: %r", error)
            await asyncio.sleep(1)

    @property
    def _connected(self) -> LogReader:
        if self._reader is None:
            raise RuntimeError("`begin` comes before all else")
        return self._reader

    async def _fold_until(
        self,
        until_ms: int,
        needed: Mapping[int, int],
        ends: Mapping[TopicPartition, int],
        read: HashedPosts | None = None,
    ) -> None:
        """Fold everything up to a time and the needed offsets, as far as partitions have it."""
        reader = self._connected
        while True:
            behind, ahead, complete_ms = False, [], until_ms
            for source, end in ends.items():
                position = await reader.position(source)
                latest_ms = self._latest_ms.get(source.partition, 0)
                least = needed.get(source.partition, 0)
                if position < least or (position < end and latest_ms <= until_ms):
                    behind = True
                    # All of this partition before its latest time has been read.
                    complete_ms = min(complete_ms, latest_ms - 1)
                elif position < end:
                    ahead.append(source)
            await self._fold(complete_ms, {} if behind else needed, read)
            if not behind:
                return
            reader.skip(ahead)
            for batch in await reader.read(timeout_ms=50):
                self._take(batch, reader.partitions[TOPIC])

    def _take(self, batch: RecordBatch, partitions: int) -> None:
        partition = batch.source.partition
        admitted = validate_batch(batch, partitions, decode_post)
        versions = {
            record.offset: PostVersion(0, event.post_id, event.author_id, event.text)
            if isinstance(event, Post)
            else PostVersion(0, event.post_id, "", None)
            for record, event in admitted.events
        }
        waiting, latest_ms = self._waiting[partition], self._latest_ms.get(partition, 0)
        for record in batch.records:
            # Time does not go back within a partition, whatever the broker's clock did.
            latest_ms = max(latest_ms, record.timestamp)
            if record.offset in versions:
                version = versions[record.offset]._replace(at_ms=latest_ms)
                waiting.append(_PendingVersion(latest_ms, partition, record.offset, version))
        self._latest_ms[partition] = latest_ms

    async def _fold(
        self, until_ms: int, needed: Mapping[int, int], read: HashedPosts | None
    ) -> None:
        ready = sorted(self._ready(until_ms, needed), key=_merged)
        for start in range(0, len(ready), _AT_ONCE):
            part = ready[start : start + _AT_ONCE]
            pasts = self._history.fold([one.version for one in part], *_standing(part, read))
            for (_, partition, offset, _), past in zip(part, pasts, strict=True):
                if past.copies:
                    self._pasts[partition, offset] = past
                    self._told.append((partition, offset))
            while len(self._told) > _KEPT:
                partition, offset = self._told.popleft()
                del self._pasts[partition, offset]
                self._known_from[partition] = offset + 1
            await asyncio.sleep(0)

    def _ready(self, until_ms: int, needed: Mapping[int, int]) -> Iterator[_PendingVersion]:
        for partition, waiting in self._waiting.items():
            end = needed.get(partition, 0)
            while waiting and (waiting[0].at_ms <= until_ms or waiting[0].offset < end):
                yield waiting.popleft()


def _standing(
    part: Sequence[_PendingVersion], read: HashedPosts | None
) -> tuple[Sequence[int], PostBatch | None]:
    """Where each of these stands among the posts that were read, and those."""
    if read is None:
        return (), None
    return [read.rows.get((one.partition, one.offset), -1) for one in part], read.posts


def _merged(one: _PendingVersion) -> tuple[int, int, int]:
    return one.at_ms, one.partition, one.offset
