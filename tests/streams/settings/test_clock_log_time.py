"""A worker's time from `instances`, without Kafka; its own clock is nine days off."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from builders.fake_log import FakeLog
from builders.records import StoredRecord
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.settings import clock
from feedmill.streams.settings.clock import LogTime

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000
INSTANCES = TopicPartition("instances", 0)


class Broker:
    """Stamps the heartbeats that come in by its own clock."""

    def __init__(self) -> None:
        self.at_ms = NOW_MS
        self.records = [StoredRecord(0, NOW_MS - 3 * DAY_MS, b"spam/gone", b"{}")]
        self.beats = 0

    def append(self) -> None:
        self.records.append(StoredRecord(len(self.records), self.at_ms, b"spam/one", b"{}"))

    def beat(self, now_s: float, instances: Callable[[], Iterable[Any]]) -> bool:
        self.beats += 1
        self.append()
        return True


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    log = FakeLog({INSTANCES: cast(Any, broker.records)})
    monkeypatch.setattr(clock, "LogConsumer", lambda *_, **__: log)
    monkeypatch.setattr(clock, "Heartbeats", lambda _: broker)
    monkeypatch.setattr(clock, "END", 1)
    monkeypatch.setattr(clock, "_READ_EVERY_S", 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: (NOW_MS + 9 * DAY_MS) * 1_000_000)
    return broker


def test_the_first_stamp_is_that_of_a_heartbeat_of_ones_own(broker: Broker) -> None:
    worker, seen = LogTime(cast(Any, None)), []
    worker.on_beat = lambda value, at_ms: seen.append((value, at_ms))
    assert not worker.clock.is_set
    while not worker.clock.is_set:
        worker.follow(tuple)
    assert broker.beats >= 1
    assert 0 <= worker.clock.now_ms() - NOW_MS < 60_000
    assert seen[0] == (b"{}", NOW_MS)


def test_after_the_first_stamp_it_reads_now_and_then(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_READ_EVERY_S", 0.02)
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    worker, seen = LogTime(cast(Any, None)), []
    worker.on_beat = lambda _, at_ms: seen.append(at_ms)
    while not worker.clock.is_set:
        worker.follow(tuple)
    worker.follow(tuple)
    known = len(seen)
    now_s += 0.019
    worker.follow(tuple)
    assert len(seen) == known
    now_s += 0.002
    worker.follow(tuple)
    assert len(seen) == len(broker.records) - 1 > known


def test_a_jump_of_the_brokers_clock_is_logged_once_and_not_followed(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = LogTime(cast(Any, None))
    worker.follow(tuple)
    worker.follow(tuple)
    broker.at_ms += 9 * DAY_MS
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            worker.follow(tuple)
    assert 0 <= worker.clock.now_ms() - NOW_MS < 60_000
    assert worker.clock.refused >= 4
    assert len(caplog.records) == 1
    assert "jumped by +216.0 hours" in caplog.text
