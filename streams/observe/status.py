"""What a process says of itself: to its supervisor through a pipe, and over HTTP.

A worker writes one line a second into the pipe.
"""

from __future__ import annotations

import asyncio
import binascii
import os
import threading
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from feedmill.events.errors import UsageError

STATUS_FD = "FEEDMILL_STATUS_FD"
_encode = msgspec.json.Encoder().encode
_METRICS_TYPE = "text/plain; version=0.0.4"
_WITHIN_S = 10.0


class Status(msgspec.Struct, frozen=True):
    """The state of a worker.

    `not_ready` is "" if it is ready, else the reason; `metrics` are in Prometheus' text format.
    `error` is why the process is about to end, in the last status of one that fails.
    """

    not_ready: str
    metrics: str
    error: str = ""


_decode = msgspec.json.Decoder(Status).decode


def encode(status: Status) -> bytes:
    """Return the line of a status, without its end.

    Compressed to a twentieth: a pipe holds 64 KiB, and metrics with many partitions are larger.
    """
    return b64encode(zlib.compress(_encode(status), 1))


def decode(line: bytes) -> Status:
    """Return the status of a line.

    Raises `msgspec.DecodeError`: the line is not whole.
    """
    try:
        return _decode(zlib.decompress(b64decode(line)))
    except (binascii.Error, zlib.error) as error:
        raise msgspec.DecodeError(f"not a whole line: {error}") from error


def status_pipe(variables: Mapping[str, str]) -> int | None:
    """Return the file descriptor of the pipe to the supervisor; None if there is no supervisor."""
    text = variables.get(STATUS_FD, "")
    return int(text) if text.isdecimal() else None


def write_status(pipe: int, status: Status) -> bool:
    """Write a line without blocking, or drop it if the pipe is full; False: no supervisor."""
    try:
        os.write(pipe, encode(status) + b"\n")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


class StatusServer:
    """Serves `/healthz`, `/readyz` and `/metrics`, read-only.

    `not_ready` returns why the process is not ready, "" if it is, and `metrics` the metrics as
    Prometheus' text.  The server calls both on a thread of its own.
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

        Raises `UsageError`: the port is taken, or the host is no address of this machine.
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
