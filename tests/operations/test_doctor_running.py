"""A running engine has no finding; stopped with records waiting, it has one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.engine import WORKER, Engine
from builders.waiting import in_background, now_ms, until
from feedmill.deploy.local import StackAddress


@pytest.fixture
def engine(stack: StackAddress, prefix: str, tmp_path: Path) -> Iterator[Engine]:
    started = Engine(stack.kafka, stack.redis, prefix, tmp_path)
    try:
        yield started
    finally:
        started.stop()


def doctor(engine: Engine) -> list[dict[str, Any]]:
    """What `feedmill doctor` finds, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "feedmill.cli.main", "doctor", "--json"],
        env={**os.environ, **engine.environment()},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    assert done.returncode == int(any(one["severity"] == "wrong" for one in found)), done.stderr
    return found


def test_a_running_engine_has_nothing_and_a_stopped_one_is_named(engine: Engine) -> None:
    assert doctor(engine) == []
    engine.start(WORKER)
    engine.wait_ready()

    def traffic(stop: Any) -> None:
        n = 0
        while not stop.wait(0.02):
            n += 1
            engine.post(f"p{n}", communities=["python"])
            like = {"post_id": f"p{n}", "user_id": "u", "kind": "like", "at_ms": now_ms()}
            engine.send("engagements", f"p{n}", like)

    with in_background(traffic):
        until(lambda: engine.redis.zcard(f"{engine.prefix}feed:{{global}}") > 3)
        assert doctor(engine) == []
    engine.workers[WORKER].stop()
    engine.post("late")
    (finding,) = doctor(engine)
    assert (finding["check"], finding["severity"]) == ("members", "wrong")
    assert "`feedmill worker`" in finding["way_out"]
    engine.restart(WORKER)
    engine.wait_ready()
    until(lambda: engine.redis.exists(f"{engine.prefix}signals:late"))
    assert doctor(engine) == []
