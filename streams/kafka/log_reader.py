"""Reads whole topics from their beginning, without a group: how views and settings are made."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition as KafkaPartition

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.clients import adapt_fetch_wait, new_reader
from feedmill.streams.settings.environment import Environment

log = logging.getLogger(__name__)

_TOPIC_WAIT_S = 30.0


class LogReader:
    """All partitions of some topics, or those that are chosen, read by one task.

    `start`, then `read` for ever.  An offset out of range raises: records are missing,
    and the stage that reads must not go on as if they had never been.  With `eager` set the broker
    never holds a fetch back for long: for readers that somebody waits for.
    """

    def __init__(
        self,
        environment: Environment,
        topics: Sequence[str],
        partitions: Sequence[int] | None = None,
        max_records: int = 10_000,
    ) -> None:
        self._environment = environment
        self._topics = topics
        self._chosen = partitions
        self._max_records = max_records
        self._consumer = new_reader(environment)
        self.partitions: dict[str, int] = {}
        self.eager = False
        self._behind: dict[KafkaPartition, int] = {}
        self._ends_seen: list[tuple[float, Mapping[KafkaPartition, int]]] = []

    async def start(self, starts: Mapping[TopicPartition, int] | None = None) -> None:
        """Connect, and stand at the beginning, or at `starts` where given.

        Raises
        ------
        UsageError
            A topic does not exist.
        """
        await self._consumer.start()
        assigned = []
        for topic in self._topics:
            count = await self._count(topic)
            self.partitions[topic] = count
            chosen = range(count) if self._chosen is None else self._chosen
            assigned += [KafkaPartition(self._environment.topic(topic), p) for p in chosen]
        self._consumer.assign(assigned)
        first = await self._consumer.beginning_offsets(assigned)
        for partition, offset in first.items():
            start = (starts or {}).get(self._source(partition), offset)
            self._consumer.seek(partition, max(start, offset))
        await self.look_at_ends()
        self._behind = dict(self._ends_seen[-1][1])

    async def _count(self, topic: str) -> int:
        """How many partitions a topic has; waits a while for one that is being created."""
        name = self._environment.topic(topic)
        until = time.monotonic() + _TOPIC_WAIT_S
        while True:
            # The public calls know the partitions of subscribed topics alone.
            cluster = await self._consumer._client.fetch_all_metadata()
            if partitions := cluster.partitions_for_topic(name):
                return len(partitions)
            if time.monotonic() > until:
                raise UsageError(
                    f"there is no topic `{name}` at {self._environment.kafka}; create it with"
                    " `feedmill topics create`, or mind FEEDMILL_TOPIC_PREFIX"
                )
            await asyncio.sleep(1)

    async def read(self, timeout_ms: int = 200) -> list[RecordBatch]:
        """All that is there of all partitions, after at most this time."""
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=self._max_records)
        adapt_fetch_wait(self._consumer, busy=self.eager or bool(fetched))
        return [RecordBatch(self._source(tp), records) for tp, records in fetched.items()]

    def skip(self, sources: Sequence[TopicPartition]) -> None:
        """Have the next `read`s bring no records of these partitions, and of all others again."""
        unwanted, paused = {self._at(source) for source in sources}, self._consumer.paused()
        self._consumer.resume(*(paused - unwanted))
        self._consumer.pause(*(unwanted - paused))

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Go on reading a partition from an offset."""
        self._consumer.seek(self._at(source), offset)

    async def position(self, source: TopicPartition) -> int:
        """The offset that is read next."""
        return int(await self._consumer.position(self._at(source)))

    async def read_to_end(self) -> list[RecordBatch]:
        """All records up to where the topics ended at `start`."""
        batches = []
        while not await self.has_caught_up():
            batches += await self.read()
        return batches

    async def has_caught_up(self) -> bool:
        """Whether everything was read that was there at `start`."""
        for partition, end in tuple(self._behind.items()):
            if await self._consumer.position(partition) >= end:
                del self._behind[partition]
        return not self._behind

    async def look_at_ends(self) -> None:
        """Note where the topics end now; see `fresh_within`."""
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        self._ends_seen.append((time.monotonic(), ends))
        del self._ends_seen[:-8]

    async def lag(self) -> int:
        """How many records lie between here and the ends last noted."""
        ends = self._ends_seen[-1][1]
        return sum([max(0, end - await self._consumer.position(tp)) for tp, end in ends.items()])

    async def fresh_within(self, seconds: float) -> bool:
        """Whether all was read that had been there so many seconds ago."""
        since = time.monotonic() - seconds
        for seen_at, ends in reversed(self._ends_seen):
            if seen_at < since:
                return False
            positions = [await self._consumer.position(tp) >= end for tp, end in ends.items()]
            if all(positions):
                return True
        return False

    async def end_of(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where other partitions end, by the same connection."""
        ends = await self._consumer.end_offsets([self._at(source) for source in sources])
        return {self._source(tp): end for tp, end in ends.items()}

    async def offset_at(self, source: TopicPartition, at_ms: int) -> int | None:
        """The first offset of a partition with this timestamp or a later one."""
        at = self._at(source)
        found = (await self._consumer.offsets_for_times({at: at_ms}))[at]
        return None if found is None else int(found.offset)

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    def _at(self, source: TopicPartition) -> KafkaPartition:
        return KafkaPartition(self._environment.topic(source.topic), source.partition)

    def _source(self, partition: KafkaPartition) -> TopicPartition:
        return TopicPartition(self._environment.named(partition.topic), partition.partition)
