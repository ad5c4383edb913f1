"""Servers that do not answer: workers stay, say so, come back, and stop within ten seconds."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from builders.engine_topics import Json
from builders.fault_engine import FaultEngine
from builders.own_redis import OwnRedis
from builders.waiting import now_ms, until
from feedmill.deploy.local import StackAddress, down, status, up

# Above the watchdog's 30 s and Kafka's 30 s between two polls.
AWAY_S = 36.0
EVENTS = 3000
# What operators are promised: they, and orchestrators, kill what is still there then.
STOP_WITHIN_S = 10.0
POSTS = [f"storm-{n}" for n in range(20)]


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StackAddress, int]]:
    """Kafka and Redis of these tests alone, and the pid of the broker."""
    folder = tmp_path_factory.mktemp("own-stack")
    address = up(folder)
    (pid,) = status(folder).kafka_pids
    assert pid is not None
    try:
        yield address, pid
    finally:
        os.kill(pid, signal.SIGCONT)
        down(folder)


def test_a_worker_with_work_in_hand_outlives_a_broker_that_is_away(
    own_stack: tuple[StackAddress, int], fault_engine: Callable[..., FaultEngine]
) -> None:
    address, broker = own_stack
    engine = fault_engine(kafka=address.kafka)
    worker = engine.ready_worker()
    for post_id in POSTS:
        engine.post(post_id)
    engine.wait_decided(POSTS)
    for n in range(EVENTS):
        post_id = POSTS[n % len(POSTS)]
        event: Json = {"post_id": post_id, "user_id": f"u{n}", "kind": "click", "at_ms": now_ms()}
        sent = engine.send("engagements", post_id, event)
    sent.get(30)
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
    until(lambda: clicks(engine) == dict.fromkeys(POSTS, EVENTS // len(POSTS)), 60, every=0.5)


def test_a_worker_stops_while_redis_or_the_broker_is_frozen(
    own_stack: tuple[StackAddress, int],
    own_redis: OwnRedis,
    fault_engine: Callable[..., FaultEngine],
) -> None:
    address, broker = own_stack
    engine = fault_engine(kafka=address.kafka, redis=own_redis.url)
    worker = engine.ready_worker()
    engine.wait_decided({"p": engine.post("p")})
    own_redis.freeze()
    engine.post("p", "Snow")
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


def clicks(engine: FaultEngine) -> dict[str, int]:
    return {
        post_id: int(state["counters"]["counts"][1])
        for post_id, state in engine.latest("counters").items()
        if post_id in POSTS
    }
