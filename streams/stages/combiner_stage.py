"""The combiner's stage: reads everything, ranks what changed, writes it to Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import redis
from aiokafka.errors import KafkaError

from feedmill.events.settings import Settings
from feedmill.rankers.combiner import Combiner, FeedChange
from feedmill.streams.kafka.clients import new_redis
from feedmill.streams.kafka.pace import Pace
from feedmill.streams.kafka.transport import BatchApp
from feedmill.streams.redis.ownership import SHARD_TOPIC, Ownership
from feedmill.streams.redis.writer import RedisWriter, WriteResult
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.combiner_input import CombinerInput
from feedmill.streams.stages.freshness import Freshness
from feedmill.streams.stages.stage import Stage

log = logging.getLogger(__name__)

TICK_S = 1.0
RENEW_S = 5.0
_RETRY_S = 0.5


class CombinerStage(Stage):
    """Reading and writing are apart: while Redis answers, the view goes on being filled."""

    def __init__(self, name: str, environment: Environment) -> None:
        self.combiner = Combiner(environment.signals)
        self._changed = asyncio.Event()
        self._shown_offset = -1
        self._cycles = 0
        self._lag = 0
        self._pace = Pace()
        self._renew_at = 0.0
        self._trouble = "catching up"
        self._away = ""
        super().__init__(name, environment)
        self.app = BatchApp(environment, name)
        client = new_redis(environment)
        self._client = client
        self._input = CombinerInput(environment, self.combiner.view)
        self._freshness = Freshness(environment, self._input.reader)
        self._ownership = Ownership(self.app, client, environment.redis_prefix)
        self._writer = RedisWriter(client, environment.redis_prefix, self._ownership.token_of)

    async def prepare(self) -> None:
        """Build the view, then ask for shards."""
        await self._input.reader.start()
        while not await self._input.reader.has_caught_up():
            await self._read_once(timeout_ms=100)
        await self._freshness.start()

        async def receive(stream: Any) -> None:
            async for _ in stream:  # nobody writes there
                pass

        self.app.agent(self.app.batches(SHARD_TOPIC), name=self.name)(receive)
        await self.app.start()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._read(), self._write(), self._look(), self.app.watch()]

    async def close(self) -> None:
        await self.app.stop()
        await self._input.reader.stop()
        await self._freshness.stop()
        await self._client.aclose()

    def ready_reason(self) -> str:
        return self._away or self._trouble

    async def lag(self) -> int:
        return self._lag

    def progress(self) -> object:
        return self._cycles

    def is_busy(self) -> bool:
        return self._changed.is_set() and not self._trouble

    def settings_changed(self, settings: Settings) -> None:
        """Rank by the new settings; they are dealt with once Redis shows them."""
        self.combiner.apply(settings)
        self._changed.set()

    def applied_offset(self) -> int:
        return self._shown_offset

    async def _read(self) -> None:
        while True:
            await self._read_once(timeout_ms=500)
            if (pause_s := self._pace.pause_s()) > 0:
                await asyncio.sleep(pause_s)

    async def _read_once(self, timeout_ms: int) -> None:
        batches, rejected = await self._input.read(timeout_ms)
        for batch in batches:
            self.metrics.add("feedmill_events_total", len(batch.records), topic=batch.source.topic)
        if batches:
            self._changed.set()
        if rejected:
            for one in rejected:
                self.metrics.add("feedmill_rejected_total", topic=one.source.topic)
            # `engagement` letters what is wrong with posts.
            letters = [one for one in rejected if one.source.topic != "posts"]
            self.letters.add(letters)
            self.metrics.add("feedmill_letters_total", len(letters))
            await self.producer.flush()

    async def _write(self) -> None:
        await self.app.assigned.wait()
        tick_at = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                if self._ownership.has_changed:
                    await self._take_over()
                if now >= tick_at:
                    tick_at = now + TICK_S
                    self.combiner.tick(now_ms())
                    self._changed.set()
                if now >= self._renew_at:
                    self._renew_at = now + RENEW_S
                    await self._renew()
                if self._changed.is_set():
                    await self._cycle()
                await self._writer.announce()
                self._set_trouble("")
            except redis.RedisError as error:
                await self._lost_redis(error)
            await self._pause(min(tick_at, self._renew_at) - time.monotonic())
            if (pause_s := self._pace.pause_s()) > 0:
                await asyncio.sleep(pause_s)

    async def _pause(self, seconds: float) -> None:
        """Wait for something to write, until the next tick at most."""
        if self._writer.has_announcements:
            seconds = min(seconds, 0.05)
        try:
            await asyncio.wait_for(self._changed.wait(), max(seconds, 0.001))
        except TimeoutError:
            return

    async def _take_over(self) -> None:
        await self._ownership.take(self.combiner.feeds, now_ms())
        self._writer.forget(self.combiner.feeds)
        self.combiner.rewrite_all()
        self._changed.set()

    async def _cycle(self) -> None:
        """Rank what changed and write it; afterwards Redis shows the settings so far."""
        self._changed.clear()
        start = time.perf_counter()
        offset = self.combiner.settings.offset
        signals, feeds, _ = self.combiner.cycle(now_ms())
        if signals or feeds:
            outcome = await self._writer.write(signals, feeds, now_ms(), self._freshness.is_fresh)
            self._follow(outcome)
            self._cycles += 1
            seconds = time.perf_counter() - start
            self._pace.worked(seconds)
            self.metrics.observe("feedmill_cycle_seconds", seconds)
        if offset != self._shown_offset:
            self._shown_offset = offset
            self.beat()

    async def _renew(self) -> None:
        renewals: list[FeedChange] = self.combiner.renewals()
        if renewals:
            self._follow(await self._writer.write([], renewals, now_ms(), self._freshness.is_fresh))

    def _follow(self, outcome: WriteResult) -> None:
        if outcome.outdated:
            self.metrics.add("feedmill_redis_refused_total", outcome.outdated)
        if outcome.missing_feeds:
            # A feed that is gone means a flush: nothing that was written can be trusted.
            log.info("Redis lost %s: writing everything again", outcome.missing_feeds[:3])
            self.combiner.rewrite_all()
            self._changed.set()
        elif outcome.missing_posts:
            self.combiner.rewrite([], outcome.missing_posts)
            self._changed.set()

    async def _lost_redis(self, error: redis.RedisError) -> None:
        self.metrics.add("feedmill_redis_errors_total")
        self._set_trouble(f"Redis: {error}")
        self._writer.forget(self.combiner.feeds)
        self.combiner.rewrite_all()
        self._changed.set()
        while True:
            await asyncio.sleep(_RETRY_S)
            try:
                await self._client.ping()
                return
            except redis.RedisError:
                continue

    def _set_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.log(logging.WARNING if trouble else logging.INFO, "%s", trouble or "writing")
            self.beat()

    async def _look(self) -> None:
        refused = 0
        while True:
            try:
                if await self._freshness.look():
                    self._renew_at = 0.0  # feeds that were stale need not wait for their turn
                self._lag = await self._input.reader.lag()
                self._away = ""
            except KafkaError as error:
                self._away = f"Kafka: {error!r}"
            for decision, count in self.combiner.decisions().items():
                self.metrics.set("feedmill_posts", count, decision=decision)
            self.metrics.set("feedmill_feeds", len(self.combiner.feeds))
            self.metrics.add("feedmill_feeds_refused_total", self.combiner.feeds_refused - refused)
            refused = self.combiner.feeds_refused
            await asyncio.sleep(1)
