"""`/healthz`, `/readyz` and `/metrics`; read only, on loopback unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from feedmill.events.errors import UsageError

_METRICS_TYPE = "text/plain; version=0.0.4"


class StatusServer:
    """A small HTTP server over three functions of its owner."""

    def __init__(self, is_ready: Callable[[], str], metrics: Callable[[], str]) -> None:
        """`is_ready` returns "" when ready, else the reason why not."""
        self._is_ready = is_ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one, see `port`."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._get_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another FEEDMILL_PORT,"
                " 0 takes any free one"
            ) from None
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reason = self._is_ready()
        return web.Response(text=(reason or "ready") + "\n", status=503 if reason else 200)

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics().encode(), headers={"Content-Type": _METRICS_TYPE})
