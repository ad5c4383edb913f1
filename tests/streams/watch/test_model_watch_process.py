"""The process that watches models, beside a real Kafka: its alarms reach operators."""

import dataclasses
import json
import logging
import urllib.request
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from builders.events import NOW_MS
from builders.kafka_log import KafkaLog
from builders.records import record, record_batch
from builders.waiting import in_background, now_ms, until
from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.filters.registry import load
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import HOUR_MS
from feedmill.streams.watch.model_watch import ModelWatch, WatchProcess

VERSION = load("spam").version


def signals(count: int, low: float, high: float) -> list[Signal]:
    values = np.random.default_rng(1).uniform(low, high, count).tolist()
    return [Signal(f"p{i}", 0, v, "spam", VERSION, 0) for i, v in enumerate(values)]


def write_state(path: Path) -> None:
    """Write what a process knows that saw a day of scores below 0.3."""
    watch, now = ModelWatch(SignalNames(), lambda *_: None), now_ms()
    for hour in range(25, 0, -1):
        at = now - hour * HOUR_MS
        records = [record(one.post_id, one, timestamp=at) for one in signals(1500, 0.0, 0.3)]
        watch.take(record_batch("signals.spam", records))
    path.write_bytes(msgspec.json.encode(watch.saved()))


def health(environment: Environment, *more: str) -> tuple[int, str]:
    where = ["--kafka", environment.kafka, "--prefix", environment.topic_prefix]
    result = CliRunner().invoke(main, ["models", "health", *where, *more])
    return result.exit_code, result.stdout


def metrics(process: WatchProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics") as answer:
        text: str = answer.read().decode()
    return text


def test_an_alarm_is_on_instances_in_the_log_in_metrics_and_in_health(
    stack: StackAddress, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state = tmp_path / "watch.json"
    write_state(state)
    log = KafkaLog.created(stack.kafka, prefix)
    environment = dataclasses.replace(log.environment, port=0, instance="w1")
    process = WatchProcess(environment, state)
    producer = log.producer()

    def send(some: list[Signal]) -> None:
        for one in some:
            producer.produce(environment.topic("signals.spam"), encode(one), one.post_id)
        producer.flush(20)

    def watched_values() -> int:
        return sum(one.values for one in process.watch.reports() if one.quantity == "score")

    with in_background(lambda _: process.run()) as running:
        try:
            until(
                lambda: (
                    process.port
                    and 'feedmill_ready{instance="w1",stage="watch"} 1' in metrics(process)
                )
            )
            send(signals(1500, 0.0, 0.3))
            until(lambda: watched_values() >= 1500)
            until(lambda: "score" in health(environment)[1])
            code, text = health(environment)
            assert (code, "drift" in text) == (0, False), text
            send(signals(1500, 0.2, 0.5))
            until(lambda: health(environment)[0] != 0)
            code, text = health(environment, "--json")
            # A process that loaded the filter watches what it does not know.
            post = Post("x", "a", NOW_MS, "The library opens at nine")
            producer.produce(environment.topic("posts"), encode(post), "x")
            producer.flush(20)
            until(lambda: any(one.quantity == "unknown" for one in process.watch.reports()))
            labels = (
                f'instance="w1",model="spam",quantity="score",stage="watch",version="{VERSION}"'
            )
            assert f"feedmill_drift{{{labels}}} 1.0" in metrics(process)
        finally:
            process.stopping.set()
        running.result(20)
    rows = json.loads(text)
    (row,) = [row for row in rows if row.get("quantity") == "score"]
    assert (row["model"], row["version"], row["state"]) == ("spam", VERSION, "drift")
    assert "above a value of earlier days" in row["reason"]
    assert f"drift: score of spam@{VERSION}" in caplog.text
    saved = ModelWatch(SignalNames(), lambda *_: None, process.watch.saved())
    assert {q.name for q in saved.watches} >= {"score", "fallback", "unknown", "missing"}


def test_a_state_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "watch.json"
    path.write_text('{"weights": 1}')
    with pytest.raises(UsageError, match="name another file"):
        WatchProcess(Environment(), path)
