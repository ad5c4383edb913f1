"""HTTP over a socket: senders that are slow, that break off, and that speak no HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from feedmill.readers import web
from feedmill.readers.web import ReaderWeb, RequestQueue
from feedmill.streams.observe.metrics import Metrics

HEAD = b"POST /v1/feeds/global HTTP/1.1\r\nHost: x\r\n"


class Answers:
    """Answers every request at once."""

    metrics = Metrics("reader", "test")

    def page(self, feed: str, body: bytes) -> bytes:
        return b'{"posts": []}'

    def redis_key(self, feed: str) -> str:
        return feed

    def closed_reason(self) -> str:
        return ""

    def ready_reason(self) -> str:
        return ""

    def metrics_text(self) -> str:
        return ""


Ask = Callable[[bytes], Awaitable[bytes]]


def served(ask: Callable[[Ask], Awaitable[Any]]) -> Any:
    """What `ask` returns, given what sends bytes and reads until the end of the connection."""

    async def run() -> Any:
        queue = RequestQueue()
        listening = ReaderWeb(Answers(), queue, None)
        await listening.start("127.0.0.1", 0)
        serving = asyncio.ensure_future(queue.serve_until(float("inf"), lambda _: None))

        async def send(data: bytes) -> bytes:
            reads, writes = await asyncio.open_connection("127.0.0.1", listening.port)
            writes.write(data)
            try:
                return await asyncio.wait_for(reads.read(), 20)
            finally:
                writes.close()

        try:
            return await ask(send)
        finally:
            serving.cancel()
            await listening.stop()

    return asyncio.run(run())


def test_who_sends_slowly_is_let_go_and_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_HEAD_WITHIN_S", 0.3)
    monkeypatch.setattr(web, "_BODY_WITHIN_S", 0.3)
    monkeypatch.setattr(web, "_REST_WITHIN_S", 0.1)

    async def ask(send: Ask) -> list[bytes]:
        heads = [asyncio.ensure_future(send(HEAD + b"X: ")) for _ in range(50)]
        bodies = [asyncio.ensure_future(send(HEAD + b"Content-Length: 9\r\n\r\n{"))]
        page = await send(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        assert not any(one.done() for one in heads + bodies)
        return [page, *await asyncio.gather(*heads, *bodies)]

    page, *heads, body = served(ask)
    assert page.startswith(b"HTTP/1.1 200")
    assert {*heads} == {b""}
    assert body.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        HEAD + b"X Y: a\r\n\r\n",
        HEAD + b"X: " + b"a" * 9_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_is_no_error_of_the_reader(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert served(lambda send: send(sent)).startswith(b"HTTP/1.0 400")
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_who_breaks_off_is_no_error_of_the_reader(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(send: Ask) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send(HEAD + b"Content-Length: 9\r\n\r\n{"), 0.1)
        await send(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        # The head comes before what is no chunk.
        broken = asyncio.ensure_future(send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"))
        await asyncio.sleep(0.1)
        broken.cancel()
        await asyncio.sleep(0.1)

    served(ask)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
