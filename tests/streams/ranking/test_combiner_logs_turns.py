"""When the combiner's logs are read, without Kafka."""

from types import SimpleNamespace
from typing import cast

import pytest

from builders.fake_log import FakeLog, Topics
from builders.records import StoredRecord
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.ranking import combiner_logs
from feedmill.streams.ranking.combiner_logs import CombinerLogs

NAMES = SignalNames()
OVERRIDES = TopicPartition("overrides", 0)


def test_overrides_are_read_at_once_in_a_restore_and_every_5_ms_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, topics = 1.0, cast(Topics, {OVERRIDES: []})
    monkeypatch.setattr(combiner_logs, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(combiner_logs, "LogConsumer", lambda *_, **__: FakeLog(topics))
    logs = CombinerLogs(cast(Connection, None), PostView(NAMES), NAMES, NAMES.all, 1)

    def read_one_more() -> int:
        offset = len(topics[OVERRIDES])
        topics[OVERRIDES].append(StoredRecord(offset, 1, b"no key of an override", b"{}"))
        return logs.read(100)[0]

    assert not logs.is_restored
    assert read_one_more() == 1
    assert logs.read(100)[0] == 0  # signals come after posts
    assert logs.is_restored

    assert read_one_more() == 0
    now_s += 0.004
    assert read_one_more() == 0
    now_s += 0.001
    assert read_one_more() == 3

    logs.assigned(AssignmentChange(2, gained=(0,)), {})
    assert not logs.is_restored
    assert read_one_more() == 1
