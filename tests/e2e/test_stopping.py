"""A stop ends in ten seconds whatever is frozen; a Redis that was restarted is filled again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.engine import WORKER, Engine
from builders.waiting import now_ms, until
from feedmill.deploy.local import down, status, up

pytestmark = pytest.mark.stack

# What operators are promised: they, and orchestrators, kill what is still there then.
STOP_WITHIN_S = 10


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Path]:
    """Servers that a test may freeze and kill."""
    up(tmp_path)
    try:
        yield tmp_path
    finally:
        found = status(tmp_path)
        for pid in filter(None, (*found.kafka_pids, found.redis_pid)):
            os.kill(pid, signal.SIGCONT)
        down(tmp_path)


def stop_all(engine: Engine) -> list[str]:
    """SIGTERM to all at once; those that had to be killed, because they did not end in time."""
    end = time.monotonic() + STOP_WITHIN_S
    late = []
    for worker in engine.workers.values():
        worker.process.terminate()
    for name, worker in engine.workers.items():
        try:
            worker.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            late.append(name)
    return late


def test_a_worker_stops_while_its_servers_are_frozen(own_stack: Path) -> None:
    found = status(own_stack)
    (kafka_pid,) = found.kafka_pids
    assert kafka_pid and found.redis_pid
    engine = Engine(found.kafka, found.redis, "frozen.", own_stack)
    try:
        engine.start(WORKER)
        engine.wait_ready()
        offsets = engine.posts(
            {"post_id": f"p{i}", "author_id": f"a{i}", "created_at_ms": now_ms(), "text": "Rain"}
            for i in range(100)
        )
        engine.wait_decided(offsets)
        until(lambda: all({"quality", "engagement"} <= t.keys() for t in engine.truths().values()))
        time.sleep(0.5)
        wanted = engine.feed()[0]
        assert len(wanted) == 100

        # A Redis that was killed and restarted is empty: everything is written again.
        os.kill(found.redis_pid, signal.SIGKILL)
        time.sleep(2)
        up(own_stack, redis_port=int(found.redis.rsplit(":", 1)[1].split("/")[0]))
        until(lambda: len(engine.order()) == len(engine.truths()) == 100, 20)
        assert engine.feed()[0] == wanted
        assert {n: w.process.poll() for n, w in engine.workers.items()} == {WORKER: None}

        redis_pid = status(own_stack).redis_pid
        assert redis_pid
        os.kill(redis_pid, signal.SIGSTOP)
        offset = engine.post("p1", "Snow")
        assert offset > 0
        time.sleep(1)
        engine.workers[WORKER].stop(STOP_WITHIN_S)
        os.kill(redis_pid, signal.SIGCONT)
        engine.restart(WORKER)
        engine.wait_ready()

        os.kill(kafka_pid, signal.SIGSTOP)
        time.sleep(1)
        late = stop_all(engine)
        os.kill(kafka_pid, signal.SIGCONT)
        assert late == []
        assert {w.process.returncode for w in engine.workers.values()} == {0}
    finally:
        engine.stop()
