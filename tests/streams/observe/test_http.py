"""The HTTP server of a process, asked over a real socket."""

import asyncio
import socket

import aiohttp
import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.observe.http import StatusServer

HOST = "127.0.0.1"


def server(not_ready: str = "") -> StatusServer:
    return StatusServer(lambda: not_ready, lambda: "feedmill_lag 5\n")


def ask(status_server: StatusServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, text and content type of an answer."""

    async def run() -> tuple[int, str, str]:
        await status_server.start(HOST, 0)
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, f"http://{HOST}:{status_server.port}{path}") as response,
            ):
                return response.status, await response.text(), response.headers["Content-Type"]
        finally:
            await status_server.stop()

    return asyncio.run(run())


def test_a_living_process_is_healthy_even_if_it_is_not_ready() -> None:
    status, text, _ = ask(server("spam: starting"), "/healthz")
    assert (status, text) == (200, "alive\n")


@pytest.mark.parametrize(
    ("not_ready", "status", "text"),
    [("", 200, "ready\n"), ("spam: starting", 503, "spam: starting\n")],
)
def test_readiness_has_its_reason(not_ready: str, status: int, text: str) -> None:
    assert ask(server(not_ready), "/readyz")[:2] == (status, text)


def test_metrics_have_the_content_type_of_prometheus() -> None:
    assert ask(server(), "/metrics") == (200, "feedmill_lag 5\n", "text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/healthz", 405)]
)
def test_it_offers_nothing_else(method: str, path: str, status: int) -> None:
    assert ask(server(), path, method)[0] == status


def test_a_taken_port_is_named_with_the_way_out() -> None:
    async def run(port: int) -> None:
        second = server()
        try:
            await second.start(HOST, port)
        finally:
            await second.stop()

    with (
        socket.create_server((HOST, 0)) as taken,
        pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:\d+ .*FEEDMILL_PORT"),
    ):
        asyncio.run(run(taken.getsockname()[1]))


def test_a_server_that_never_listened_can_be_stopped() -> None:
    asyncio.run(server().stop())
