"""Topics of one partition, read whole or from a moment on, and single writes: for commands.

No group and no commits; a command leaves nothing behind but what it wrote.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.clients import new_producer, new_reader
from feedmill.streams.settings.environment import Environment


class TopicRecord(NamedTuple):
    """A record as it stands in its topic."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None


class TopicReader:
    """Reads partition 0 of a topic; made by `open_topic`."""

    def __init__(self, consumer: Any, at: TopicPartition) -> None:
        self._consumer = consumer
        self._at = at

    async def from_beginning(self) -> None:
        await self._consumer.seek_to_beginning(self._at)

    async def from_time(self, at_ms: int) -> None:
        """Go to the first record with this timestamp or a later one, else to the end."""
        found = (await self._consumer.offsets_for_times({self._at: at_ms}))[self._at]
        end = (await self._consumer.end_offsets([self._at]))[self._at]
        self._consumer.seek(self._at, end if found is None else found.offset)

    async def some(self, timeout_ms: int) -> list[TopicRecord]:
        """Read what is there, after at most this time."""
        fetched = await self._consumer.getmany(self._at, timeout_ms=timeout_ms)
        return [
            TopicRecord(r.offset, r.timestamp, r.key, r.value)
            for rs in fetched.values()
            for r in rs
        ]

    async def to_end(self) -> list[TopicRecord]:
        """Read all up to where the topic ends now."""
        end = (await self._consumer.end_offsets([self._at]))[self._at]
        records: list[TopicRecord] = []
        while await self._consumer.position(self._at) < end:
            records += await self.some(timeout_ms=200)
        return records


@asynccontextmanager
async def open_topic(environment: Environment, topic: str) -> AsyncIterator[TopicReader]:
    """Open a reader of partition 0; raises `UsageError` where there is no such topic."""
    name = environment.topic(topic)
    consumer = new_reader(environment)
    try:
        await consumer.start()
        if name not in await consumer.topics():
            raise UsageError(
                f"there is no topic `{name}` at {environment.kafka}; `feedmill topics create`"
                " makes it, or mind --kafka and --prefix"
            )
        at = TopicPartition(name, 0)
        consumer.assign([at])
        yield TopicReader(consumer, at)
    finally:
        await consumer.stop()


async def read_all(environment: Environment, topic: str) -> list[TopicRecord]:
    """Read the whole of a topic of one partition."""
    async with open_topic(environment, topic) as reader:
        await reader.from_beginning()
        return await reader.to_end()


async def send(environment: Environment, topic: str, key: bytes, value: bytes | None) -> int:
    """Write one record to partition 0, acknowledged by all replicas; returns its offset."""
    producer = new_producer(environment)
    try:
        await producer.start()
        sent = await producer.send_and_wait(
            environment.topic(topic), key=key, value=value, partition=0
        )
    finally:
        await producer.stop()
    return int(sent.offset)
