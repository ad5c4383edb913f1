"""What every stage has: settings, heartbeats, metrics, a producer, a watchdog, a stop that ends.

A stage is one process.  Its parts are tasks; the first that dies takes the process
with it, loudly, and whoever supervises starts it again from what is committed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.events.settings import Settings
from feedmill.streams.kafka.clients import new_producer
from feedmill.streams.kafka.dead_letters import DeadLetters
from feedmill.streams.kafka.producing import BatchProducer
from feedmill.streams.observe.http import StatusServer
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import Status, status_pipe, write_status
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.follower import SettingsFollower

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
# A stop must end within ten seconds; what is not done by then is done again after the restart.
STOP_WITHIN_S = 8.0
STALL_S = 120.0
EXIT_STALLED = 3


class Stage(ABC):
    """One instance of one stage.

    Subclasses say what to do in `prepare` (before anything is read), `tasks` (run until the
    stop) and `close`, and how they are: `ready_reason`, `lag`.  `settings_changed` is called
    between batches, on the event loop.
    """

    def __init__(self, name: str, environment: Environment) -> None:
        self.name = name
        self.environment = environment
        self.metrics = Metrics(name, environment.instance)
        self.config = SettingsFollower(environment, self.settings_changed)
        self.stopping = asyncio.Event()
        self.models: dict[str, str] = {}
        self._kafka_producer = new_producer(environment)
        self.producer = BatchProducer(self._kafka_producer, environment)
        self.letters = DeadLetters(name, self.producer)
        self._failure: Exception | None = None
        self._beat = asyncio.Event()
        self._web = StatusServer(self.ready_reason, self.metrics.text)
        self._pipe = status_pipe(os.environ)
        self._refused_told = 0

    @abstractmethod
    async def prepare(self) -> None:
        """Load models, make clients; called once the settings are known."""

    @abstractmethod
    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs until the stop."""

    @abstractmethod
    async def close(self) -> None:
        """Commit and disconnect; must not take longer than a few seconds."""

    @abstractmethod
    def ready_reason(self) -> str:
        """Say why the stage is not ready; "" when it is."""

    @abstractmethod
    async def lag(self) -> int:
        """How many records lie before it."""

    def settings_changed(self, settings: Settings) -> None:
        """Follow new settings.  The base tells the world that they were dealt with."""
        self.beat()

    def applied_offset(self) -> int:
        """The last record of `config` whose effect can be seen."""
        return self.config.settings.offset

    def beat(self) -> None:
        """Publish on `instances` at once."""
        self._beat.set()

    async def run(self) -> None:
        """Start, run until SIGTERM or SIGINT, stop.

        Raises whatever ended a part of it.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        running: list[asyncio.Task[Any]] = []
        try:
            starting = asyncio.ensure_future(self._start())
            stop = asyncio.ensure_future(self.stopping.wait())
            running = [starting, stop]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return
            starting.result()
            parts = [*self.tasks(), self._follow_settings(), self._heartbeats(), self._watch()]
            running = [stop, *map(asyncio.ensure_future, parts)]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not self.stopping.is_set():
                raise RuntimeError(f"a part of stage {self.name} ended by itself")
        except Exception as error:
            self._failure = error
            raise
        finally:
            self.stopping.set()
            await self._stop(running)

    async def _start(self) -> None:
        if self.environment.port is not None and self._pipe is None:
            await self._web.start(self.environment.host, self.environment.port)
            log.info("http://%s:%d/metrics", self.environment.host, self._web.port)
        await self._connect()
        await self.config.start()
        await self.prepare()

    async def _connect(self) -> None:
        """Connect to Kafka, however long it is away; meanwhile the process says not ready."""
        pause_s = 0.5
        while True:
            try:
                await self._kafka_producer.start()
                return
            except KafkaConnectionError as error:
                log.warning("Kafka is away, trying again in %.1f s: %s", pause_s, error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 10.0)

    async def _stop(self, running: Sequence[asyncio.Task[Any]]) -> None:
        deadline = asyncio.get_running_loop().call_later(STOP_WITHIN_S, _end_now, self._failure)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await _quietly(self.close())
        await _quietly(self._say_goodbye())
        await _quietly(self.config.reader.stop())
        await _quietly(self._kafka_producer.stop())
        await _quietly(self._web.stop())
        deadline.cancel()

    async def _follow_settings(self) -> None:
        while True:
            await self.config.follow()

    async def _heartbeats(self) -> None:
        while True:
            self._beat.clear()
            try:
                await self._publish(encode(await self._heartbeat()))
            except KafkaError as error:
                log.warning("no heartbeat: %r", error)
            try:
                await asyncio.wait_for(self._beat.wait(), HEARTBEAT_S)
            except TimeoutError:
                continue

    async def _heartbeat(self) -> Instance:
        return Instance(
            stage=self.name,
            instance=self.environment.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            build=importlib.metadata.version("feedmill"),
            config_offset=self.applied_offset(),
            refused=tuple(self.config.refused),
            models=self.models,
            ready=not self.ready_reason(),
            lag=await self.lag(),
            at_ms=now_ms(),
        )

    async def _say_goodbye(self) -> None:
        await self._publish(None)

    async def _publish(self, value: bytes | None) -> None:
        await self._kafka_producer.send_and_wait(
            self.environment.topic("instances"),
            key=f"{self.name}/{self.environment.instance}".encode(),
            value=value,
            partition=0,
        )

    async def _watch(self) -> None:
        """Once a second: metrics, the supervisor, and whether work still moves."""
        was_ready, moved_at, last = "starting", time.monotonic(), self.progress()
        while True:
            now, reason = self.progress(), self.ready_reason()
            if now != last:
                moved_at, last = time.monotonic(), now
            if self.is_busy() and time.monotonic() - moved_at > STALL_S:
                log.critical("no progress for %.0f s with work waiting: ending", STALL_S)
                os._exit(EXIT_STALLED)
            if reason != was_ready:
                was_ready = reason
                log.info("ready" if not reason else "not ready: %s", *([reason] if reason else []))
                self.beat()
            await self._report(reason)
            await asyncio.sleep(1)

    def progress(self) -> object:
        """Something that changes as work gets done."""
        return None

    def is_busy(self) -> bool:
        """Whether there is work that should get done."""
        return False

    async def _report(self, reason: str) -> None:
        self.metrics.set("feedmill_ready", float(not reason))
        self.metrics.set("feedmill_lag", await self.lag())
        self.metrics.set("feedmill_config_offset", self.applied_offset())
        refused = self.config.refused_count - self._refused_told
        self.metrics.add("feedmill_refused_settings_total", refused)
        self._refused_told += refused
        if self._pipe is None:
            return
        status = Status(
            self.name, self.environment.instance, os.getpid(), reason, self.metrics.text()
        )
        if not write_status(self._pipe, status):
            log.info("the supervisor is gone: stopping")
            self.stopping.set()


async def _quietly(part: Coroutine[Any, Any, None]) -> None:
    """Await a part of the stop; what it raises must not keep the others from stopping."""
    try:
        await asyncio.wait_for(part, STOP_WITHIN_S / 2)
    except Exception as error:  # noqa: BLE001 - the process is ending whatever happens
        log.warning("while stopping: %r", error)


def _end_now(failure: Exception | None) -> None:
    log.warning("the stop took longer than %.0f s: ending", STOP_WITHIN_S, exc_info=failure)
    os._exit(0 if failure is None else 1)
