"""The HTTP of a reader: who may ask, what waits, pages, and what operators ask of a process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from aiohttp import http_exceptions, web

from feedmill.events.errors import UsageError
from feedmill.readers.request import BadRequest
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.tokens import READER, Token, TokenFile, hash_of, of_hash

log = logging.getLogger(__name__)


class Holder:
    """Whoever has a token; `may_ask` takes one request from what the rate gives."""

    def __init__(self, token: Token) -> None:
        self.token, self.per_second = token, token.per_second or 0.0
        self._left, self._at_s = max(1.0, self.per_second), 0.0

    def may_ask(self, now_s: float) -> bool:
        """Whether another request is within the rate; a second's worth may come at once."""
        most = max(1.0, self.per_second)
        self._left = min(most, self._left + (now_s - self._at_s) * self.per_second)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Tokens:
    """Those tokens of a file that may ask, read again when the file changes.

    Raises `UsageError` at the start if the file is wrong, or nobody may ask; later the tokens
    before stay where the file is wrong, and `trouble` says why.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self._file = TokenFile(path)
        self._stamp: tuple[int, int] | None = None
        self._holders: dict[Token, Holder] = {}
        self.look()
        if self.trouble or not self._holders:
            raise UsageError(
                self.trouble
                or f"{path} has no token of the role {READER};"
                f" `feedmill token add NAME --role {READER} --rate N --tokens {path}` adds one"
            )

    def look(self) -> None:
        """Read the file again if it changed."""
        path, before = self._file.path, self.trouble
        try:
            found = path.stat()
            stamp = found.st_mtime_ns, found.st_size
            if stamp == self._stamp:
                return
            readers = [one for one in self._file.read() if one.role == READER]
            self._holders = {one: self._holders.get(one) or Holder(one) for one in readers}
            self._stamp = stamp
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{path}: {error.strerror}; put the file of tokens there"
        except UsageError as error:
            self.trouble = str(error)
        if self._stamp and self.trouble not in ("", before):
            log.warning("the tokens stay as they were: %s", self.trouble)

    def holder(self, authorization: str) -> Holder | None:
        """Who sent this header `Authorization`; None if it has no token of the file."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        found = of_hash(self._holders, hash_of(token.strip()))
        return None if found is None else self._holders[found]


MOST_WAIT_S = 0.050
# The mean time of an answer follows the last answers by this part.
_NEW_PART = 0.05


class Waiting(NamedTuple):
    """A request in the queue: since when, how it is answered, and who waits for that."""

    since_s: float
    answer: Callable[[], bytes]
    answered: asyncio.Future[bytes | None]


class RequestQueue:
    """Hands requests out in their order; a request that waited for 50 ms is not answered any more.

    A request that would wait so long is refused when it comes, so that the requests before it are
    answered instead of it being read.
    """

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._mean_s = 0.001
        self._has_some = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether a request that comes now would wait too long."""
        return len(self._waiting) * self._mean_s > MOST_WAIT_S

    async def answer(self, answer: Callable[[], bytes]) -> bytes | None:
        """Have `answer` called when it is the request's turn; None if that took too long.

        Raises what `answer` raises.
        """
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(time.monotonic(), answer, answered))
        self._has_some.set()
        return await answered

    async def serve_until(self, end_s: float, waited: Callable[[float], None]) -> None:
        """Answer requests until a time of the monotonic clock, telling how long each waited."""
        while (left_s := end_s - time.monotonic()) > 0:
            waited_s = self._serve_next()
            if waited_s is None:
                await self._wait(left_s)
            else:
                waited(waited_s)
                # The next request may be among what came meanwhile.
                await asyncio.sleep(0)

    async def _wait(self, most_s: float) -> None:
        """Wait until there is a request, or for so long."""
        self._has_some.clear()
        if not self._waiting:
            try:
                await asyncio.wait_for(self._has_some.wait(), most_s)
            except TimeoutError:
                return

    def _serve_next(self) -> float | None:
        """Answer the next request, and shed those before it that waited too long.

        Returns how long the request waited, None if there was none.
        """
        while self._waiting:
            one = self._waiting.popleft()
            start, spent_s = time.monotonic(), time.thread_time()
            if one.answered.done():  # the client is gone
                continue
            if start - one.since_s > MOST_WAIT_S:
                one.answered.set_result(None)
                continue
            try:
                one.answered.set_result(one.answer())
            except Exception as error:  # noqa: BLE001 - the request's handler raises it
                one.answered.set_exception(error)
            # By the clock a busy machine would seem to take no requests that come together.
            self._mean_s += _NEW_PART * (time.thread_time() - spent_s - self._mean_s)
            return start - one.since_s
        return None


# aiohttp's own: a stranger's bytes that are no HTTP are answered with 400, and no error of ours.
_http_log = log.getChild("http")
_http_log.addFilter(
    lambda said: (
        not isinstance((said.exc_info or (None,) * 3)[1], http_exceptions.HttpProcessingError)
    )
)

MOST_BYTES = 256 * 1024
_BODY_WITHIN_S = 5.0
# A connection that sends no whole request head for so long is closed, idle or slow alike; the rest
# of a refused body is read for so long, since a client that still sends may not read the refusal.
_HEAD_WITHIN_S, _REST_WITHIN_S = 15.0, 2.0
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
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_log,
            auto_decompress=False,  # a compressed body is refused, not inflated
            keepalive_timeout=_HEAD_WITHIN_S,
            lingering_time=_REST_WITHIN_S,
        )
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
        except (web.RequestPayloadError, ConnectionError) as error:
            return _error(400, f"Expected a body as its headers say, got another one: {error}")
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
