"""What a signal's app says about itself on `instances`, as stages do."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import socket
from typing import Any

from faust.types import TP

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.log_time import HEARTBEAT_S
from feedmill.streams.worker.heap import resident_mib

log = logging.getLogger(__name__)

_LOOK_S = 1.0


class AppHeartbeats:
    """Writes a heartbeat every five seconds, within a second of a new setting, and at the end.

    The app follows no settings, so it says of each record of `config` that it has applied it:
    `feedmill config set` need not wait for it.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._environment = app.environment
        self._key = f"{app.signal_name}/{self._environment.instance}".encode()
        self._topic = self._environment.topic("instances")
        self._config = TP(self._environment.topic("config"), 0)
        self._config_offset = -1
        self._looks = 0
        app.timer(_LOOK_S)(self._look)
        app.on_before_shutdown.connect(self._leave)

    async def _look(self) -> None:
        """Look at `config`, and write a heartbeat if it is time."""
        before = self._config_offset
        try:
            ends = await self._app.consumer.highwaters(self._config)
            self._config_offset = ends[self._config] - 1
        except Exception as error:  # noqa: BLE001 - it looks again a second later
            log.debug("cannot look at config: %r", error)
        if self._looks % round(HEARTBEAT_S / _LOOK_S) == 0 or self._config_offset > before:
            await self._write(encode(self._instance(await self._lag())))
        self._looks += 1

    async def _lag(self) -> int:
        """Return how many records of `posts` are not read or not acknowledged."""
        consumer = self._app.consumer
        unread = 0
        for partition in consumer.assignment():
            position = await consumer.position(partition)
            unread += max(0, (consumer.highwater(partition) or 0) - (position or 0))
        return unread + len(consumer.unacked)

    async def _leave(self, *_: Any, **__: Any) -> None:
        """Say that this instance has stopped."""
        await self._write(None)

    async def _write(self, value: bytes | None) -> None:
        try:
            await self._app.producer.send(self._topic, self._key, value, 0, None, None)
        except Exception as error:  # noqa: BLE001 - a heartbeat more or less; the next one follows
            log.warning("no heartbeat: %r", error)

    def _instance(self, lag: int) -> Instance:
        app = self._app
        return Instance(
            stage=app.signal_name,
            instance=self._environment.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            build=importlib.metadata.version("feedmill"),
            config_offset=self._config_offset,
            refused=(),
            models={app.signal_name: app.model_version},
            ready=not app.rebalancing,
            lag=lag,
            at_ms=now_ms(),
            reason="the group shares out partitions" if app.rebalancing else "",
            memory_mib=resident_mib(),
        )
