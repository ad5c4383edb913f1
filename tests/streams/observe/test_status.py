"""The status of a process: lines through a real pipe, and its HTTP server over a real socket."""

import asyncio
import os
import socket
from collections.abc import Iterator

import aiohttp
import msgspec
import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import (
    STATUS_FD,
    Status,
    StatusServer,
    decode,
    encode,
    status_pipe,
    write_status,
)

STATUS = Status("2 records behind\nand more", "feedmill_lag 2\n")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe whose writer does not block, as the supervisor makes it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue


def test_the_metrics_of_a_thousand_partitions_fit_into_a_pipe(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    metrics = Metrics("worker", "one")
    labels = [("group", topic, str(p)) for topic in ("posts", "engagements") for p in range(1024)]
    metrics.replace("feedmill_partition_lag", dict.fromkeys(labels, 123_456.0))
    status = Status("", metrics.text())
    assert len(status.metrics) > 65_536
    assert write_status(writing, status)
    assert decode(os.read(reading, 1 << 20)) == status


@pytest.mark.parametrize("cut", [1, 20, -3])
def test_a_line_that_was_cut_is_an_error(cut: int) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(encode(STATUS)[:cut])


def test_a_full_pipe_drops_lines_without_blocking(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    assert "\n" in STATUS.not_ready
    assert all(write_status(writing, STATUS) for _ in range(5000))
    *whole, _ = os.read(reading, 1 << 20).split(b"\n")
    assert 0 < len(whole) < 5000
    assert {decode(line) for line in whole} == {STATUS}


def test_a_supervisor_that_is_gone_is_noticed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    assert not write_status(writing, STATUS)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, None), ({STATUS_FD: ""}, None), ({STATUS_FD: "x"}, None), ({STATUS_FD: "5"}, 5)],
)
def test_the_pipe_is_found_by_its_variable(variables: dict[str, str], expected: int | None) -> None:
    assert status_pipe(variables) == expected


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
