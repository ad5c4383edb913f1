"""A stage that shares its partitions with others of its group: the models' stages."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from feedmill.streams.kafka.batches import RecordBatch
from feedmill.streams.kafka.inbox import Inbox
from feedmill.streams.kafka.transport import BatchApp
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.stage import Stage

_LOOK_EVERY_S = 2.0


class GroupStage(Stage):
    """Takes batches from a consumer group, hands them to `process`, books them as finished.

    `process` is called by one task with everything that is ready.  It gathers records in
    `self.producer`, or sends and flushes in its own order; when it returns, and the producer
    is flushed, the batches count as dealt with and their offsets are committed.
    """

    topics: Sequence[str] = ("posts",)

    def __init__(self, name: str, environment: Environment) -> None:
        super().__init__(name, environment)
        self.app = BatchApp(environment, name)
        self._inbox = Inbox(environment.batch_records)
        self._lag = 0
        self._finished = 0
        self._caught_up = False
        self._trouble = ""
        self._taken_over = False

    @abstractmethod
    async def process(self, batches: Sequence[RecordBatch]) -> None:
        """Deal with these batches; raise only what must end the stage."""

    async def prepare(self) -> None:
        """Join the group."""

        async def receive(stream: Any) -> None:
            async for batch in stream:
                await self._inbox.put(batch)

        for topic in self.topics:
            self.app.agent(self.app.batches(topic), name=f"{self.name}.{topic}")(receive)
        await self.app.start()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._work(), self._look_at_lag(), self.app.watch()]

    async def close(self) -> None:
        await self.app.stop()

    def ready_reason(self) -> str:
        if not self.app.assigned.is_set():
            return "waiting for partitions"
        if not self._taken_over:
            return "taking partitions over"
        if not self._caught_up:
            return f"catching up, {self._lag} records to go"
        return self._trouble

    async def lag(self) -> int:
        return self._lag

    def progress(self) -> object:
        return self._finished, self.app.epoch

    def is_busy(self) -> bool:
        return self._lag > 0

    async def take_over(self) -> None:
        """Get ready for the partitions of the first assignment, before any batch of them."""

    async def _work(self) -> None:
        await self.app.assigned.wait()
        await self.take_over()
        self._taken_over = True
        while True:
            batches = [batch for batch in await self._inbox.take() if self._is_current(batch)]
            if not batches:
                continue
            start = time.perf_counter()
            await self.process(batches)
            await self.producer.flush()
            for batch in batches:
                # After a rebalance a batch that ends alike may be another, not dealt with yet.
                if self._is_current(batch):
                    self.app.ledger.finish(batch)
                self.metrics.add(
                    "feedmill_events_total", len(batch.records), topic=batch.source.topic
                )
            self._finished += len(batches)
            seconds = time.perf_counter() - start
            self.app.pace.worked(seconds)
            self.metrics.observe("feedmill_batch_seconds", seconds)

    def _is_current(self, batch: RecordBatch) -> bool:
        # What was fetched before the last rebalance is fetched again, here or elsewhere.
        return batch.epoch == self.app.epoch

    async def _look_at_lag(self) -> None:
        while True:
            if self.app.assigned.is_set():
                try:
                    await self._measure_lag()
                except KafkaError as error:
                    self._trouble = f"Kafka: {error!r}"
                else:
                    self._trouble = ""
                    self._caught_up = self._caught_up or self._lag == 0
            await asyncio.sleep(_LOOK_EVERY_S if self._caught_up else 0.2)

    async def _measure_lag(self) -> None:
        partitions = tuple(self.app.ledger.done)
        ends = await self.config.reader.end_of(partitions) if partitions else {}
        done = self.app.ledger.done
        self._lag = sum(max(0, end - done.get(source, end)) for source, end in ends.items())
