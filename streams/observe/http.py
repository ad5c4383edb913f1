"""The HTTP server of a process: `/healthz`, `/readyz` and `/metrics`, all read-only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from aiohttp import web

from feedmill.events.errors import UsageError

_METRICS_TYPE = "text/plain; version=0.0.4"
_WITHIN_S = 10.0


class StatusServer:
    """Answers `/healthz` with 200, `/readyz` and `/metrics` with what its owner says.

    Parameters
    ----------
    not_ready
        Returns "" if the process is ready, else the reason why it is not.
    metrics
        Returns the metrics in Prometheus' text format.

    Both are called on a thread of its own; what they read must bear that.
    """

    def __init__(self, not_ready: Callable[[], str], metrics: Callable[[], str]) -> None:
        self.port = 0
        self._not_ready = not_ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)

    def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one, which `port` then has.

        Raises
        ------
        UsageError
            The port is taken, or the host is no address of this machine.
        """
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(self._listen(host, port), self._loop)
        try:
            listening.result(_WITHIN_S)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror}); set FEEDMILL_HOST and"
                " FEEDMILL_PORT to others, port 0 takes any free one"
            ) from None

    def stop(self) -> None:
        """Stop listening; nothing happens if it never listened."""
        if self._runner is not None:
            ending = asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop)
            ending.result(_WITHIN_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)

    async def _listen(self, host: str, port: int) -> None:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._get_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reason = self._not_ready()
        return web.Response(text=(reason or "ready") + "\n", status=503 if reason else 200)

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics().encode(), headers={"Content-Type": _METRICS_TYPE})
