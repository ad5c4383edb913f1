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
    logs = CombinerLogs(cast(Connection, None), PostView(NAMES), NAMES.all, 1)

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


def test_a_rebalance_has_nothing_read_again_that_the_view_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Posts from where this worker judged, signals from behind what it committed."""
    opened: list[FakeLog] = []
    topics = cast(Topics, {})

    def open_log(*_: object, **__: object) -> FakeLog:
        opened.append(FakeLog(topics))
        return opened[-1]

    def write(topic: str, partition: int, until: int) -> None:
        records = topics.setdefault(TopicPartition(topic, partition), [])
        records += [StoredRecord(n, 1, b"", b"{}") for n in range(len(records), until)]

    def reads_since(change: AssignmentChange, **written: int) -> dict[TopicPartition, int]:
        for log in opened:
            log.reads.clear()
        logs.assigned(change, {TopicPartition(f"signals.{n}", 1): w for n, w in written.items()})
        for _ in range(3):
            logs.read(10_000)
        assert logs.is_restored
        return {source: start for log in opened for source, start in log.reads}

    monkeypatch.setattr(combiner_logs, "LogConsumer", open_log)
    names = SignalNames(gates=("spam", "nsfw"), objectives=("quality",))
    made = ("spam", "nsfw")
    logs = CombinerLogs(cast(Connection, None), PostView(names), made, 2)
    for topic in ("posts", *(f"signals.{name}" for name in names.all)):
        write(topic, 0, 3)
        write(topic, 1, 5)
    for _ in range(3):
        logs.read(10_000)
    assert logs.was_restored
    assert reads_since(AssignmentChange(1, gained=(0, 1))) == {}

    # Its own steps have the posts now, and its commits are known; another's signals go on.
    for topic in ("posts", "signals.spam", "signals.nsfw", "signals.quality"):
        write(topic, 1, 20)
    logs.read(10_000)
    logs.judged(1, 12)
    assert reads_since(AssignmentChange(2, lost=(1,), kept=(0,)), spam=9) == {
        TopicPartition("posts", 1): 12,
        TopicPartition("signals.spam", 1): 9,
        # Nothing of this one was committed since the log left it.
        TopicPartition("signals.nsfw", 1): 5,
    }
    # Back again, and lost in the middle: what a former commit says is behind what was read since.
    assert reads_since(AssignmentChange(3, gained=(1,), kept=(0,)), spam=9) == {}
    again = AssignmentChange(4, lost=(1,), gained=(1,), kept=(0,))
    names_of = ("posts", "signals.spam", "signals.nsfw")
    assert reads_since(again, spam=9) == {TopicPartition(name, 1): 20 for name in names_of}
    assert reads_since(AssignmentChange(5, kept=(0, 1)), spam=30) == {}
    assert reads_since(AssignmentChange(6, lost=(0, 1))).keys() >= {TopicPartition("posts", 0)}
