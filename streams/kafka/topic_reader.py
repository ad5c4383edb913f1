"""For commands: read a topic of one partition, and write single records.

There is no consumer group and nothing is committed, so a command leaves no trace but its records.
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
    """A record of a topic; `at_ms` is its timestamp in Unix milliseconds."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None


class TopicReader:
    """Reads partition 0 of a topic from a position on; made by `open_topic`."""

    def __init__(self, consumer: Any, partition: TopicPartition) -> None:
        self._consumer = consumer
        self._partition = partition

    async def seek_to_beginning(self) -> None:
        """Go to the first record that is still there."""
        await self._consumer.seek_to_beginning(self._partition)

    async def seek_to_time(self, at_ms: int) -> None:
        """Go to the first record with this timestamp or a later one, else to the end."""
        offsets = await self._consumer.offsets_for_times({self._partition: at_ms})
        first = offsets[self._partition]
        self._consumer.seek(self._partition, await self._end() if first is None else first.offset)

    async def read(self, timeout_ms: int) -> list[TopicRecord]:
        """The next records; waits at most `timeout_ms` for the first and may return none."""
        fetched = await self._consumer.getmany(self._partition, timeout_ms=timeout_ms)
        return [
            TopicRecord(record.offset, record.timestamp, record.key, record.value)
            for records in fetched.values()
            for record in records
        ]

    async def read_to_end(self) -> list[TopicRecord]:
        """All records up to the end that the topic has at the time of the call."""
        end = await self._end()
        records: list[TopicRecord] = []
        while await self._consumer.position(self._partition) < end:
            records += await self.read(timeout_ms=200)
        return records

    async def _end(self) -> int:
        ends = await self._consumer.end_offsets([self._partition])
        return int(ends[self._partition])


@asynccontextmanager
async def open_topic(environment: Environment, topic: str) -> AsyncIterator[TopicReader]:
    """Open a reader of partition 0 of a topic, named without the prefix.

    Raises
    ------
    UsageError
        There is no such topic.
    aiokafka.errors.KafkaError
        Kafka cannot be reached.
    """
    name = environment.topic(topic)
    consumer = new_reader(environment)
    try:
        await consumer.start()
        if name not in await consumer.topics():
            raise UsageError(
                f"Kafka at {environment.kafka} has no topic `{name}`; create the topics with"
                " `feedmill topics create`, or give the right --kafka and --prefix"
            )
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        yield TopicReader(consumer, partition)
    finally:
        await consumer.stop()


async def read_all(environment: Environment, topic: str) -> list[TopicRecord]:
    """Read a whole topic of one partition; raises what `open_topic` raises."""
    async with open_topic(environment, topic) as reader:
        await reader.seek_to_beginning()
        return await reader.read_to_end()


async def send(environment: Environment, topic: str, key: bytes, value: bytes | None) -> int:
    """Write one record to partition 0 and return its offset once all replicas have it."""
    producer = new_producer(environment)
    try:
        await producer.start()
        metadata = await producer.send_and_wait(
            environment.topic(topic), key=key, value=value, partition=0
        )
    finally:
        await producer.stop()
    return int(metadata.offset)
