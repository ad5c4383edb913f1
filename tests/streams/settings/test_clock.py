"""The log's time: by stamps of the broker that come by `instances`, no jump above two hours."""

import ast
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.fake_log import FakeLog
from builders.records import StoredRecord
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.settings import clock
from feedmill.streams.settings.clock import LogClock, LogTime

NOW_MS = 1_790_000_000_000
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
STREAMS = Path(__file__).parents[3] / "streams"


class Driven:
    """A log clock, and the broker's and the process' own time beside it."""

    def __init__(self) -> None:
        self.broker_ms = NOW_MS
        self.monotonic_ms = 5_000.0
        self.clock = LogClock(lambda: self.monotonic_ms)

    def wait(self, ms: int) -> None:
        self.broker_ms += ms
        self.monotonic_ms += ms

    def stamp(self, late_ms: int = 0) -> bool:
        """Take a stamp that was so long on its way."""
        return self.clock.stamp(self.broker_ms - late_ms)

    @property
    def ahead_ms(self) -> int:
        """How far the log's time is before the broker's."""
        return self.clock.now_ms() - self.broker_ms


def test_time_goes_on_between_stamps_whatever_the_hosts_clock_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven()
    assert not driven.clock.is_set
    driven.stamp()
    monkeypatch.setattr(time, "time_ns", lambda: (NOW_MS + 9 * DAY_MS) * 1_000_000)
    driven.wait(4_000)
    assert driven.clock.is_set
    assert driven.ahead_ms == 0
    assert abs(clock.now_ms() - driven.clock.now_ms()) > 8 * DAY_MS


def test_a_stamp_that_was_long_on_its_way_changes_nothing() -> None:
    driven = Driven()
    driven.stamp()
    for late_ms in (0, 4_000, 100, 9_000):
        driven.wait(5_000)
        driven.stamp(late_ms)
        assert driven.ahead_ms == 0


@pytest.mark.parametrize("jump_ms", [2 * HOUR_MS + 1, 9 * DAY_MS, -2 * HOUR_MS - 1, -9 * DAY_MS])
def test_a_jump_above_two_hours_is_refused_as_long_as_it_lasts(jump_ms: int) -> None:
    driven = Driven()
    driven.stamp()
    for _ in range(100):
        driven.wait(5_000)
        driven.broker_ms += jump_ms
        assert not driven.stamp()
        driven.broker_ms -= jump_ms
        assert driven.ahead_ms == 0
    assert driven.clock.refused == 100
    assert f"{jump_ms / HOUR_MS:+.1f} hours" in driven.clock.trouble
    assert driven.stamp()
    assert driven.clock.trouble == ""


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, 6_000, -6_000])
def test_a_clock_that_was_set_is_followed_once_two_stamps_say_so(jump_ms: int) -> None:
    driven = Driven()
    driven.stamp()
    driven.broker_ms += jump_ms
    assert driven.stamp()
    assert driven.ahead_ms == -jump_ms
    assert not driven.clock.wants_stamp
    driven.wait(1_000)
    assert driven.clock.wants_stamp
    driven.stamp(late_ms=20)
    assert driven.ahead_ms == -20
    assert not driven.clock.wants_stamp
    assert driven.clock.trouble == ""


def test_stamps_that_waited_for_a_paused_process_are_no_step() -> None:
    driven = Driven()
    driven.stamp()
    driven.wait(60_000)
    for late_ms in range(60_000, 0, -5_000):
        driven.wait(1)
        driven.stamp(late_ms)
        assert driven.ahead_ms == 0
    driven.wait(5_000)
    driven.stamp()
    assert driven.ahead_ms == 0


@given(
    drift=st.floats(-0.001, 0.001), lates=st.lists(st.integers(0, 2_000), min_size=30, max_size=200)
)
def test_a_host_whose_seconds_are_too_long_or_too_short_stays_with_the_broker(
    drift: float, lates: list[int]
) -> None:
    driven = Driven()
    driven.stamp()
    before = driven.clock.now_ms()
    for late_ms in lates:
        driven.broker_ms += 5_000
        driven.monotonic_ms += 5_000 * (1 + drift)
        driven.stamp(late_ms)
        # Two minutes of drift, and the quickest stamps of a minute.
        assert -2_500 <= driven.ahead_ms <= 2_500
        assert driven.clock.now_ms() >= before
        before = driven.clock.now_ms()


def test_a_worker_reads_the_hosts_clock_nowhere_else() -> None:
    """Programs of others (`own_signal`) say when they answered by their own clock.

    Metrics compare the host's clock with the timestamps of records, and say when they were read;
    certificates are in force by it.
    """
    found = set()
    for path in STREAMS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                if node.module == "feedmill.streams.settings.clock" and "now_ms" in names:
                    found.add(path.relative_to(STREAMS).parts[0])
            elif isinstance(node, ast.Attribute) and (
                node.attr in ("time_ns", "now", "utcnow") or ast.unparse(node) == "time.time"
            ):
                found.add(str(path.relative_to(STREAMS)))
    of_metrics = {"observe/legs.py", "worker/worker_status.py"}
    assert found == {"own_signal", "settings/clock.py", "security.py", *of_metrics}


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
