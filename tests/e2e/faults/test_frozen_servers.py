"""Servers that do not answer: workers stay, say so, come back, and stop within ten seconds."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builders.engine import Engine, changed
from builders.own_redis import OwnRedis
from builders.waiting import until
from feedmill.deploy.local import StackAddress, down, status, up

# The watchdog's time and Kafka's between two polls are 6 s, not 30; the broker is away for longer.
HASTY = (
    "from feedmill.streams.kafka import client",
    "from feedmill.streams.worker.watchdog import Watchdog",
    "client.MAX_POLL_INTERVAL_MS = 6_000",
    "Watchdog.__init__.__defaults__ = (6.0,)",
)
AWAY_S = 10.0
EVENTS = 3000
# What operators are promised: they, and orchestrators, kill what is still there then.
STOP_WITHIN_S = 10.0
POSTS = [f"storm-{n}" for n in range(20)]


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[tuple[StackAddress, int]]:
    """Kafka and Redis of this test alone, and the pid of the broker."""
    folder = tmp_path / "own-stack"
    address = up(folder)
    (pid,) = status(folder).kafka_pids
    assert pid is not None
    try:
        yield address, pid
    finally:
        os.kill(pid, signal.SIGCONT)
        down(folder)


def test_a_worker_outlives_a_broker_that_is_away_and_stops_while_a_server_is_frozen(
    own_stack: tuple[StackAddress, int],
    own_redis: OwnRedis,
    make_engine: Callable[..., Engine],
) -> None:
    address, broker = own_stack
    engine = make_engine(kafka=address.kafka, redis=own_redis.url)
    worker = engine.ready_worker(variables=changed(engine.folder, *HASTY))
    for post_id in POSTS:
        engine.post(post_id)
    engine.wait_decided(POSTS)
    # It has work in hand.
    sent = [engine.click(POSTS[n % len(POSTS)], f"u{n}") for n in range(EVENTS)]
    sent[-1].get(30)
    os.kill(broker, signal.SIGSTOP)
    until(lambda: not engine.says_ready(worker))
    end = time.monotonic() + AWAY_S
    while time.monotonic() < end:
        assert worker.process.poll() is None, worker.log.read_text()[-3000:]
        assert not engine.says_ready(worker)
        time.sleep(1.0)
    os.kill(broker, signal.SIGCONT)
    until(lambda: engine.says_ready(worker), 90)
    engine.wait_decided({"after": engine.post("after")})
    wanted = {"after": 0, **dict.fromkeys(POSTS, EVENTS // len(POSTS))}
    until(lambda: engine.clicks() == wanted, 60, every=0.5)

    own_redis.freeze()
    engine.post("after", "Snow")
    time.sleep(1.0)
    worker.stop(STOP_WITHIN_S)
    own_redis.go_on()
    worker = engine.ready_worker()
    os.kill(broker, signal.SIGSTOP)
    time.sleep(1.0)
    try:
        worker.stop(STOP_WITHIN_S)
    finally:
        os.kill(broker, signal.SIGCONT)
