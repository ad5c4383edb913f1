"""The HTTP server of a process, asked over a real socket."""

import asyncio
import socket

import aiohttp
import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.observe.status import StatusServer

HOST = "127.0.0.1"
PLAIN = "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("asked", "not_ready", "status", "text", "kind"),
    [
        ("GET /healthz", "spam: starting", 200, "alive\n", PLAIN),
        ("GET /readyz", "", 200, "ready\n", PLAIN),
        ("GET /readyz", "spam: starting", 503, "spam: starting\n", PLAIN),
        ("GET /metrics", "", 200, "feedmill_lag 5\n", "text/plain; version=0.0.4"),
        ("GET /", "", 404, "404: Not Found", PLAIN),
        ("POST /healthz", "", 405, "405: Method Not Allowed", PLAIN),
    ],
)
def test_each_path_has_its_answer_and_nothing_else_is_offered(
    asked: str, not_ready: str, status: int, text: str, kind: str
) -> None:
    server = StatusServer(lambda: not_ready, lambda: "feedmill_lag 5\n")
    server.start(HOST, 0)

    async def ask() -> tuple[int, str, str]:
        method, path = asked.split()
        url = f"http://{HOST}:{server.port}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url) as response:
            return response.status, await response.text(), response.headers["Content-Type"]

    try:
        assert asyncio.run(ask()) == (status, text, kind)
    finally:
        server.stop()


def test_a_taken_port_is_named_with_the_way_out() -> None:
    second = StatusServer(str, str)
    second.stop()  # one that never listened
    with (
        socket.create_server((HOST, 0)) as taken,
        pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:\d+ .*FEEDMILL_PORT"),
    ):
        second.start(HOST, taken.getsockname()[1])
    second.stop()
