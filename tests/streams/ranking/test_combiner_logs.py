"""What the combiner restores from a real Kafka, and in which order."""

import time
from itertools import count

import pytest

from builders.events import NOW_MS, post, signal
from builders.kafka_log import KafkaLog, until
from builders.waiting import now_ms
from feedmill.events.decode import encode
from feedmill.events.override import Override
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.ranking.combiner_logs import CombinerLogs

NAMES = SignalNames()
COUNT = 1500


def produce_posts(kafka: KafkaLog, start: int) -> dict[str, int]:
    """Write posts; returns the offset of each."""
    ids = [f"p{i}" for i in range(start, start + COUNT)]
    # More bytes than their signals: they come later where both are fetched at once.
    records = [(i.encode(), encode(post(i, "text " * 2000, created_at_ms=NOW_MS))) for i in ids]
    kafka.produce("posts", records)
    return {
        (message.key() or b"").decode(): message.offset() or 0 for message in kafka.read("posts")
    }


def produce_signals(kafka: KafkaLog, offsets: dict[str, int]) -> None:
    for name in NAMES.all:
        records = [(p.encode(), encode(signal(p, offset))) for p, offset in offsets.items()]
        kafka.produce(f"signals.{name}", records)


def follow(logs: CombinerLogs) -> None:
    assert logs.read(500)[1] == []


def has_all(view: PostView, count: int) -> bool:
    rows = view.live_rows()
    return len(rows) == count and all(c.is_current(rows).all() for c in view.signals.values())


def test_signals_are_restored_after_posts_so_that_hardly_any_waits(kafka: KafkaLog) -> None:
    offsets = produce_posts(kafka, 0)
    produce_signals(kafka, offsets)
    view = PostView(NAMES, most_early=0)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    assert not logs.is_restored
    until(lambda: logs.is_restored, lambda: follow(logs))
    assert view.early.dropped == 0
    assert has_all(view, COUNT)
    assert logs.ready_reason() == ""

    # The same where an assignment has them read on: all that another worker wrote meanwhile.
    offsets = produce_posts(kafka, COUNT)
    produce_signals(kafka, offsets)
    logs.assigned(AssignmentChange(1, gained=(0, 1)), {})
    until(lambda: logs.is_restored and has_all(view, 2 * COUNT), lambda: follow(logs))
    assert view.early.dropped == 0

    # A signal that is withdrawn, among others.
    first = next(iter(offsets))
    kafka.produce(
        "signals.spam",
        [(first.encode(), b""), (first.encode(), encode(signal(first, offsets[first], 0.25)))],
    )
    row = view.row_of(first)
    assert row is not None
    until(lambda: (s := view.signal(row, "spam")) and s.value == 0.25, lambda: follow(logs))
    logs.close()


def test_while_posts_far_behind_come_signals_wait_in_their_log(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, position = PostView(NAMES), count(1000)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))

    def produce(post_id: str) -> None:
        kafka.produce("signals.spam", [(post_id.encode(), encode(signal(post_id, 99)))])

    produce("early")
    until(lambda: len(view.early) == 1, lambda: follow(logs))
    at = TopicPartition("posts", 0)
    monkeypatch.setattr(logs._log, "lag", lambda: {at: 1001})
    monkeypatch.setattr(logs._log, "positions", lambda: {at: next(position)})
    produce("waits")
    for _ in range(50):
        follow(logs)
        time.sleep(0.01)
    assert len(view.early) == 1
    # The partition has stopped: what is about others need not wait for it.
    monkeypatch.setattr(logs._log, "positions", lambda: {at: 5})
    until(lambda: len(view.early) == 2, lambda: follow(logs))
    logs.close()


def test_many_records_in_one_read_tell_that_others_have_a_backlog(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    produce_signals(kafka, produce_posts(kafka, 0))
    until(lambda: logs.is_catching_up, lambda: follow(logs))
    until(lambda: has_all(view, COUNT) and not logs.is_catching_up, lambda: follow(logs))
    logs.close()


def test_what_comes_before_its_post_waits_for_it_however_old_it_says_to_be(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    kafka.produce("signals.spam", [(b"p", encode(signal("p", 0, 0.25, at_ms=NOW_MS)))])
    until(lambda: len(view.early) == 1, lambda: follow(logs))
    # As the combiner does each second with what is older than the window of a week.
    view.free(view.expired(now_ms() - 7 * 86_400_000))
    kafka.produce("posts", [(b"p", encode(post("p")))])
    until(lambda: len(view.live_rows()) == 1, lambda: follow(logs))
    assert view.signals["spam"].is_current(view.live_rows()).all()
    logs.close()


def test_a_start_that_is_assigned_partitions_before_it_has_read_anything(kafka: KafkaLog) -> None:
    produce_signals(kafka, produce_posts(kafka, 0))
    view = PostView(NAMES, most_early=0)
    logs = CombinerLogs(Connection(kafka.environment), view, ("spam",), kafka.partitions)
    logs.assigned(AssignmentChange(1, gained=(0,)), {})
    until(lambda: logs.is_restored, lambda: follow(logs))
    assert has_all(view, COUNT)
    assert view.early.dropped == 0
    logs.close()


def test_an_owner_that_comes_back_knows_every_override_before_it_ranks(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, NAMES.all, kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    hide = encode(Override(verdict="hide", by="mod", reason="r", at_ms=NOW_MS))
    kafka.produce("overrides", [(f"post:p{i}|*".encode(), hide) for i in range(20_000)])
    logs.assigned(AssignmentChange(1, gained=(0, 1)), {})
    # One at a time: they are not read in passing while the rest is.
    until(lambda: logs.is_restored, lambda: logs.read(1))
    assert len(view.overrides) == 20_000
    kafka.produce("overrides", [(f"author:u{i}|*".encode(), hide) for i in range(1000)])
    counts: list[int] = []
    until(
        lambda: len(view.overrides) == 21_000,
        lambda: counts.append(logs.read(2000, lambda: False)[0]),
    )
    assert max(counts) <= 200  # whoever has no time takes a slice
    logs.close()


def test_an_override_does_not_wait_behind_signals(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    waiting = 30_000
    kafka.produce("signals.spam", [(b"p", encode(signal("p", n))) for n in range(waiting)])
    hide = encode(Override(verdict="hide", by="mod", reason="r", at_ms=NOW_MS))
    kafka.produce("overrides", [(b"post:p|*", hide)])
    read = 0

    def turn() -> None:
        nonlocal read
        read += logs.read(100)[0]
        # As the work of a cycle: the client fetches meanwhile.
        time.sleep(0.01)

    until(lambda: len(view.overrides), turn)
    assert read < waiting / 2
    logs.close()
