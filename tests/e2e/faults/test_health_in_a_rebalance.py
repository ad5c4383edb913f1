"""`feedmill health` while a worker is killed and another one starts in its place."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from builders.engine import Engine
from builders.waiting import in_background, until


@contextmanager
def watched(engine: Engine) -> Iterator[list[Any]]:
    """Give what `health --watch` prints, one look after the other, while it goes on."""
    looks: list[Any] = []
    watching = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "health", "--watch", "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, **engine.environment()},
        text=True,
    )

    def read(_: threading.Event) -> None:
        assert watching.stdout is not None
        looks.extend(map(json.loads, iter(watching.stdout.readline, "")))

    with in_background(read):
        try:
            yield looks
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(60)


def test_a_start_and_a_rebalance_are_nothing_wrong_and_who_was_replaced_is_gone(
    engine: Engine,
) -> None:
    gone = engine.ready_worker("one")
    engine.ready_worker("two")
    engine.post("p1")
    until(lambda: json.loads(engine.feedmill("health --json").stdout)["healthy"], 60)

    def named(look: Any) -> set[str]:
        return {one["instance"] for one in (*look["workers"], *look["findings"])}

    with watched(engine) as looks:
        until(lambda: looks, 60)
        gone.kill()
        engine.ready_worker("three")
        until(lambda: named(looks[-1]) == {"two", "three"}, 60)
    wrong = [one for look in looks for one in look["findings"] if one["severity"] == "wrong"]
    assert wrong == []


def test_refused_records_of_the_last_hour_are_counted(engine: Engine) -> None:
    engine.ready_worker("one")
    for number in range(31):
        engine.send("posts", f"p{number}", {"post_id": f"p{number}"})
    engine.click("p1", at_ms="yesterday").get(30)
    until(lambda: len(engine.dead_letters()) == 32)
    looked = engine.feedmill("health", COLUMNS="200").stdout
    assert (
        "in the last hour 32 records broke the contract and were refused: 1 of engagements, 31 of"
        " posts"
    ) in looked
