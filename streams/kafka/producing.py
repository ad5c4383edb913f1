"""Producing by the batch: one future a partition instead of one a record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from aiokafka import AIOKafkaProducer

from feedmill.events.partition import partitions_of
from feedmill.streams.settings.environment import Environment

Headers = Sequence[tuple[str, bytes]]
# Larger records travel alone, through the producer's own path.
_LARGE = 256 * 1024


class BatchProducer:
    """Gathers records and sends them together; `flush` returns when all are acknowledged.

    One task uses it.  Records of one key keep their order.
    """

    def __init__(self, producer: AIOKafkaProducer, environment: Environment) -> None:
        self._producer = producer
        self._environment = environment
        self._waiting: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
        self._alone: list[tuple[str, bytes | None, bytes | None, Headers]] = []
        self._partitions: dict[str, int] = {}

    def add(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Gather a record for a topic (without the prefix); its key chooses the partition."""
        if value is not None and len(value) > _LARGE:
            self._alone.append((topic, key, value, ()))
        else:
            self._waiting.setdefault(topic, []).append((key, value))

    def add_alone(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        """Gather a record with headers, for partition 0."""
        self._alone.append((topic, key, value, headers))

    async def flush(self) -> None:
        """Send what was gathered and wait for the acknowledgements.

        Raises what aiokafka raises; what was gathered is gone then, and its caller,
        who has not finished its batch, makes it again.
        """
        waiting, self._waiting = self._waiting, {}
        alone, self._alone = self._alone, []
        sends = [self._send_topic(topic, records) for topic, records in waiting.items()]
        sends += [self._send_alone(*record) for record in alone]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        count = self._partitions.get(topic)
        if count is None:
            found = await self._producer.partitions_for(self._environment.topic(topic))
            count = self._partitions[topic] = len(found)
        return count

    async def _send_topic(
        self, topic: str, records: list[tuple[bytes | None, bytes | None]]
    ) -> None:
        count = await self.partitions(topic)
        partitions = partitions_of([key or b"" for key, _ in records], count)
        futures = []
        for partition in np.unique(partitions).tolist():
            mine = [records[i] for i in np.flatnonzero(partitions == partition).tolist()]
            futures += await self._send_partition(self._environment.topic(topic), partition, mine)
        await asyncio.gather(*futures)

    async def _send_partition(
        self, topic: str, partition: int, records: list[tuple[bytes | None, bytes | None]]
    ) -> list[asyncio.Future[object]]:
        futures = []
        batch = self._producer.create_batch()
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=None, headers=[]) is None:
                futures.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=[])
        futures.append(await self._producer.send_batch(batch, topic, partition=partition))
        return futures

    async def _send_alone(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        await self._producer.send_and_wait(
            self._environment.topic(topic), value=value, key=key, headers=list(headers)
        )
