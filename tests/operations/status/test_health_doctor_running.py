"""A running engine has no finding; stopped with records waiting, it has one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builders.engine import WORKER, Engine
from builders.waiting import in_background, now_ms, until
from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress


@pytest.fixture
def engine(
    stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    started = Engine(stack.kafka, stack.redis, prefix, tmp_path)
    started.use_environment(monkeypatch)
    try:
        yield started
    finally:
        started.stop()


def doctor() -> list[dict[str, Any]]:
    """What `feedmill doctor` finds."""
    done = CliRunner().invoke(main, ["doctor", "--json"])
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    assert done.exit_code == int(any(one["severity"] == "wrong" for one in found)), done.stderr
    return found


def test_a_running_engine_has_nothing_and_a_stopped_one_is_named(engine: Engine) -> None:
    assert doctor() == []
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
        # The feeds of a worker that is new are not fresh at once, which the doctor says.
        until(lambda: doctor() == [], 60)
    engine.workers[WORKER].stop()
    engine.post("late")
    (finding,) = doctor()
    assert (finding["check"], finding["severity"]) == ("members", "wrong")
    assert "`feedmill worker`" in finding["way_out"]
    engine.restart(WORKER)
    engine.wait_ready()
    until(lambda: engine.redis.exists(f"{engine.prefix}signals:late"))
    until(lambda: doctor() == [], 60)
