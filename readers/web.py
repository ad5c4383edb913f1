"""The HTTP of a reader: pages for frontends, and what operators ask of every process."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

import msgspec
from aiohttp import web

from feedmill.events.errors import UsageError
from feedmill.readers.queue import RequestQueue
from feedmill.readers.request import BadRequest
from feedmill.readers.tokens import Tokens
from feedmill.streams.observe.metrics import Metrics

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
_BODY_WITHIN_S = 5.0
_METRICS_TYPE = "text/plain; version=0.0.4"
_encode = msgspec.json.Encoder().encode


class NotServed(UsageError):
    """A feed that this reader does not serve."""


class Answers(Protocol):
    """What answers requests, on the loop's own thread."""

    metrics: Metrics

    def page(self, feed: str, body: bytes) -> bytes:
        """Return the answer to a request; raises `BadRequest` or `NotServed`."""

    def redis_key(self, feed: str) -> str:
        """Return where Redis has the feed."""

    def closed_reason(self) -> str:
        """Say why no page can be answered; "" if pages can."""

    def ready_reason(self) -> str:
        """Say why pages may be out of date, or cannot be answered; "" if all is well."""

    def metrics_text(self) -> str:
        """Return all metrics for Prometheus."""


class ReaderWeb:
    """Listens; a request waits in `queue` until the process answers it."""

    def __init__(self, answers: Answers, queue: RequestQueue, tokens: Tokens | None) -> None:
        self.port = 0
        self._answers, self._queue, self._tokens = answers, queue, tokens
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one.

        Raises `UsageError`: without tokens the host must be of this machine alone; or the address
        cannot be used.
        """
        if self._tokens is None and host not in ("127.0.0.1", "::1", "localhost"):
            raise UsageError(
                f"a reader without tokens listens on loopback alone, not on {host}: give a file of"
                " tokens by --tokens or FEEDMILL_READER_TOKENS, or set FEEDMILL_HOST to 127.0.0.1"
            )
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_post("/v1/feeds/{feed}", self._page)
        for path, answer in (("healthz", self._healthz), ("readyz", self._readyz)):
            app.router.add_get(f"/{path}", answer)
        app.router.add_get("/metrics", self._metrics)
        # A compressed body is refused, not inflated.
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror}); give another --port, or set"
                " FEEDMILL_READER_PORT, port 0 takes any free one"
            ) from None
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        response = await self._asked(request)
        self._answers.metrics.add("feedmill_reader_requests_total", status=str(response.status))
        return response

    async def _asked(self, request: web.Request) -> web.Response:
        feed = request.match_info["feed"]
        refusal = self._refusal(request, time.monotonic())
        if refusal is not None:
            return refusal
        if self._queue.is_full:
            return self._busy(feed)
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                body = await request.read()
        except TimeoutError:
            return _error(408, f"Expected the body within {_BODY_WITHIN_S:g} s; send it at once")
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"Expected a body of at most {MOST_BYTES} bytes, got more")
        return await self._answer(feed, body)

    async def _answer(self, feed: str, body: bytes) -> web.Response:
        try:
            page = await self._queue.answer(lambda: self._answers.page(feed, body))
        except (NotServed, BadRequest) as error:
            return _error(404 if isinstance(error, NotServed) else 400, str(error))
        if page is None:
            return self._busy(feed)
        return web.Response(body=page, content_type="application/json")

    def _refusal(self, request: web.Request, now_s: float) -> web.Response | None:
        """Refuse what needs no body to be refused."""
        if self._tokens is not None:
            holder = self._tokens.holder(request.headers.get("Authorization", ""))
            if holder is None:
                headers = {"WWW-Authenticate": "Bearer"}
                return _error(401, "Expected `Authorization: Bearer <token>` of the file", headers)
            if not holder.may_ask(now_s):
                said = f"Expected at most {holder.per_second:g} requests a second of this token"
                return _error(429, said, {"Retry-After": "1"})
        if (length := request.content_length) is not None and length > MOST_BYTES:
            return _error(413, f"Expected a body of at most {MOST_BYTES} bytes, got {length}")
        encoding = request.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            return _error(415, f"Expected a body that is not compressed, got {encoding[:40]!r}")
        reason = self._answers.closed_reason()
        if reason:
            return self._away(request.match_info["feed"], f"not ready: {reason}")
        return None

    def _busy(self, feed: str) -> web.Response:
        return self._away(feed, "more requests than this reader can answer")

    def _away(self, feed: str, why: str) -> web.Response:
        said = {"error": f"{why}; ask another reader, or read the key in Redis"}
        said["redis_key"] = self._answers.redis_key(feed)
        return _json(503, said, {"Retry-After": "1"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reason = self._answers.ready_reason()
        return web.Response(text=(reason or "ready") + "\n", status=503 if reason else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        text = self._answers.metrics_text()
        return web.Response(body=text.encode(), headers={"Content-Type": _METRICS_TYPE})


def _error(status: int, why: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json(status, {"error": why}, headers)


def _json(status: int, said: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=_encode(said), content_type="application/json", headers=headers
    )
