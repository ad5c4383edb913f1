"""The HTTP server of a synchronous worker: asyncio on a thread of its own, and only there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from feedmill.streams.observe.http import StatusServer

_START_WITHIN_S = 10.0


class StatusThread:
    """`/healthz`, `/readyz` and `/metrics` beside a loop that knows no asyncio.

    Both functions are called on this thread; what they read must bear that.
    """

    def __init__(self, is_ready: Callable[[], str], metrics: Callable[[], str]) -> None:
        self._server = StatusServer(is_ready, metrics)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    def start(self, host: str, port: int) -> None:
        """Listen; raises `UsageError` where the port is taken."""
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._server.start(host, port), self._loop)
        started.result(_START_WITHIN_S)

    def stop(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(
                _START_WITHIN_S
            )
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)
