"""Restores on a real Kafka: they end, whatever stands at the end of the log."""

import time
from typing import Any

import pytest

from builders.kafka_log import KafkaLog, until
from builders.lost_brokers import forget_brokers
from feedmill.streams.kafka import log_consumer, read_progress
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer

BOTH = {TopicPartition("posts", p): BEGINNING for p in (0, 1)}


def read_all(log: LogConsumer, most: int = 50) -> list[bytes]:
    found: list[bytes] = []

    def turn() -> None:
        batches = log.read(most, 0.05)
        assert sum(len(batch.records) for batch in batches) <= most
        found.extend(record.key or b"" for batch in batches for record in batch.records)

    until(log.all_restored, turn)
    return found


def test_a_restore_ends_at_markers_and_aborted_records(kafka: KafkaLog) -> None:
    keys = [f"p{i}".encode() for i in range(200)]
    for number in range(4):
        with kafka.transaction("upstream") as produce:
            for key in keys[number * 50 : number * 50 + 50]:
                produce("posts", key, b"x")
    with kafka.transaction("upstream", abort=True) as produce:
        for key in keys:
            produce("posts", key + b"-aborted", b"x")
    log = LogConsumer(Connection(kafka.environment), "posts")
    log.add(BOTH)
    assert sorted(read_all(log)) == sorted(keys)
    log.close()


def test_a_restore_waits_for_a_transaction_that_may_still_commit(kafka: KafkaLog) -> None:
    kafka.produce("posts", [(b"before", b"x")])
    log = LogConsumer(Connection(kafka.environment), "posts")
    found: list[bytes] = []

    def turn() -> None:
        for batch in log.read(50, 0.02):
            found.extend(record.key or b"" for record in batch.records)

    with kafka.transaction("upstream") as produce:
        for i in range(20):
            produce("posts", f"open{i}".encode(), b"x")
        # The open transaction's records must stand in the log before the restore asks for its end.
        until(lambda: len(kafka.read("posts", committed=False)) == 21, lambda: None)
        log.add(BOTH)
        until(lambda: found, turn)
        for _ in range(20):
            turn()
        assert found == [b"before"]
        assert not log.all_restored()
    until(log.all_restored, turn)
    assert len(found) == 21
    log.close()


@pytest.mark.parametrize(
    ("settings", "is_passed"),
    [
        ({"past_hanging": ["posts"]}, True),
        ({"past_hanging": ["posts"], "live": True}, True),
        ({"past_hanging": ["counters"]}, False),
    ],
)
def test_what_stands_behind_a_transaction_that_never_ends_is_read_where_that_is_asked_for(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], is_passed: bool
) -> None:
    monkeypatch.setattr(log_consumer, "_ASK_AGAIN_S", 0.2)
    kafka.produce("posts", [(f"old{i}".encode(), b"x") for i in range(20)])
    log = LogConsumer(Connection(kafka.environment), "posts", **settings)
    found: list[bytes] = []

    def turn() -> None:
        for batch in log.read(50, 0.01):
            found.extend(record.key or b"" for record in batch.records)

    def turn_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() > end, turn)

    with kafka.transaction("upstream") as produce:
        produce("posts", b"open", b"x")
        until(lambda: len(kafka.read("posts", committed=False)) == 21, lambda: None)
        log.add(BOTH)
        until(lambda: len(found) == 20, turn)
        # Answers that are not in a row prove nothing.
        monkeypatch.setattr(read_progress, "HANGS_AFTER_S", 0.5)
        monkeypatch.setattr(read_progress, "ASKED_AGAIN_WITHIN_S", 0.01)
        turn_for(1.5)
        assert not log.all_restored()
        monkeypatch.setattr(read_progress, "ASKED_AGAIN_WITHIN_S", 15.0)
        until(log.all_restored, turn)
        turn_for(0.5)
        assert found[20:] == ([b"open"] if is_passed else [])
    until(lambda: found[20:] == [b"open"], turn)
    log.close()


def test_what_a_transaction_holds_back_is_named_until_it_ends(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_progress, "LATE_AFTER_S", 0.5)
    monkeypatch.setattr(log_consumer, "LOOK_EVERY_S", 0.1)
    log = LogConsumer(Connection(kafka.environment), "posts")
    log.add(BOTH)
    found = read_all(log)

    def turn() -> None:
        found.extend(one.key or b"" for batch in log.read(50, 0.02) for one in batch.records)

    with kafka.transaction("upstream") as produce:
        produce("posts", b"open", b"x")
        until(lambda: kafka.read("posts", committed=False), lambda: None)
        kafka.produce("posts", [(f"behind{i}".encode(), b"x") for i in range(20)])
        until(log.late_reason, turn)
        assert f"{kafka.environment.topic('posts')}[" in log.late_reason()
        assert "abort-hanging" in log.late_reason()
        # Of the other partition all comes.
        assert 0 < len(found) < 20
    until(lambda: len(found) == 21 and not log.late_reason(), turn)
    log.close()


def test_a_live_log_goes_on_where_its_restore_ended(kafka: KafkaLog) -> None:
    kafka.produce("posts", [(f"old{i}".encode(), b"x") for i in range(100)])
    log = LogConsumer(Connection(kafka.environment), "posts", live=True)
    log.add(BOTH)
    assert len(read_all(log)) == 100
    # The other client has yet to find the broker.
    assert not log.all_live()
    found: list[bytes] = []

    def turn() -> None:
        for batch in log.read(50, 0.02):
            found.extend(record.key or b"" for record in batch.records)

    until(log.all_live, turn)
    assert not found
    # Uncommitted: it is there before the transaction ends.
    with kafka.transaction("upstream") as produce:
        produce("posts", b"new", b"x")
        until(lambda: found, turn)
    assert found == [b"new"]
    log.drop(BOTH)
    kafka.produce("posts", [(b"after", b"x")])
    for _ in range(10):
        turn()
    assert found == [b"new"]
    log.close()


def test_an_offset_out_of_range_stops_that_partition_alone(kafka: KafkaLog) -> None:
    kafka.produce("posts", [(f"p{i}".encode(), b"x") for i in range(40)])
    log = LogConsumer(Connection(kafka.environment), "posts")
    lost, other = TopicPartition("posts", 0), TopicPartition("posts", 1)
    log.add({lost: 10_000, other: BEGINNING})
    found: list[TopicPartition] = []

    def turn() -> None:
        found.extend(batch.source for batch in log.read(50, 0.02))

    until(lambda: lost in log.stopped and log.restored(other), turn)
    assert "out of range" in log.ready_reason()
    assert set(found) == {other}
    log.close()


def test_a_restore_that_is_asked_again_goes_to_the_end_as_it_is_now(kafka: KafkaLog) -> None:
    log = LogConsumer(Connection(kafka.environment), "posts")
    log.add(BOTH)
    # Of a topic that is new the first answer may be an error.
    assert read_all(log) == []
    log.drop(BOTH)
    log.add(BOTH)
    until(log._asking[0].done, lambda: time.sleep(0.01))
    kafka.produce("posts", [(f"p{i}".encode(), b"x") for i in range(100)])
    # It knows no end yet but the one that it has asked for.
    log.restore_again()
    assert len(read_all(log)) == 100
    log.close()


def test_another_client_goes_on_where_one_that_knows_no_broker_was(kafka: KafkaLog) -> None:
    keys = [f"p{i}".encode() for i in range(200)]
    kafka.produce("posts", [(key, b"x") for key in keys])
    log = LogConsumer(Connection(kafka.environment), "posts", live=True)
    log.add(BOTH)
    found: list[bytes] = []

    def turn() -> None:
        for batch in log.read(10, 0.02):
            found.extend(record.key or b"" for record in batch.records)

    until(lambda: 20 <= len(found) < 180, turn)
    restoring, live = log._restoring, log._live
    forget_brokers(restoring)
    until(lambda: log.all_restored() and log._restoring is not restoring, turn)
    assert sorted(found) == sorted(keys)
    assert log._live is live
    forget_brokers(live)
    kafka.produce("posts", [(b"new-" + key, b"x") for key in keys])
    until(lambda: len(found) >= 400 and log._live is not live, turn)
    assert sorted(found) == sorted(keys + [b"new-" + key for key in keys])
    log.close()
