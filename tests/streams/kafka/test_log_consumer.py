"""Restores on a real Kafka: they end, whatever stands at the end of the log."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from builders.kafka_log import KafkaLog, until
from builders.lost_brokers import forget_brokers
from feedmill.streams.kafka import log_consumer, read_progress
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.messages import fetch

BOTH = {TopicPartition("posts", p): BEGINNING for p in (0, 1)}


class Reading:
    """Reads `posts` by a log consumer; `found` are the keys that came."""

    def __init__(self, kafka: KafkaLog, **settings: Any) -> None:
        self.log = LogConsumer(Connection(kafka.environment), "posts", **settings)
        self.found: list[bytes] = []
        self.sources: set[TopicPartition] = set()
        self.most = 50

    def turn(self) -> None:
        batches = self.log.read(self.most, 0.02)
        assert sum(len(batch.records) for batch in batches) <= self.most
        self.found += [record.key or b"" for batch in batches for record in batch.records]
        self.sources |= {batch.source for batch in batches}

    def turn_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() > end, self.turn)

    def restore(self) -> None:
        self.log.add(BOTH)
        until(self.log.all_restored, self.turn)


@pytest.fixture
def reading(kafka: KafkaLog) -> Iterator[Reading]:
    made = Reading(kafka)
    yield made
    made.log.close()


@pytest.fixture
def live(kafka: KafkaLog) -> Iterator[Reading]:
    made = Reading(kafka, live=True)
    yield made
    made.log.close()


def keys(count: int, name: str = "p") -> list[bytes]:
    return [f"{name}{i}".encode() for i in range(count)]


def produce(kafka: KafkaLog, *names: bytes) -> None:
    kafka.produce("posts", [(name, b"x") for name in names])


def test_a_restore_ends_at_markers_and_aborted_records(kafka: KafkaLog, reading: Reading) -> None:
    for number in range(4):
        with kafka.transaction("upstream") as produce:
            for key in keys(200)[number * 50 : number * 50 + 50]:
                produce("posts", key, b"x")
    with kafka.transaction("upstream", abort=True) as produce:
        for key in keys(200, "aborted"):
            produce("posts", key, b"x")
    reading.restore()
    assert sorted(reading.found) == sorted(keys(200))


def test_a_restore_waits_for_a_transaction_that_may_still_commit(
    kafka: KafkaLog, reading: Reading
) -> None:
    produce(kafka, b"before")
    with kafka.transaction("upstream") as write:
        for key in keys(20, "open"):
            write("posts", key, b"x")
        # The open transaction's records must stand in the log before the restore asks for its end.
        until(lambda: len(kafka.read("posts", committed=False)) == 21, lambda: None)
        reading.log.add(BOTH)
        until(lambda: reading.found, reading.turn)
        reading.turn_for(0.4)
        assert reading.found == [b"before"]
        assert not reading.log.all_restored()
    until(reading.log.all_restored, reading.turn)
    assert len(reading.found) == 21


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
    produce(kafka, *keys(20, "old"))
    reading = Reading(kafka, **settings)
    with kafka.transaction("upstream") as write:
        write("posts", b"open", b"x")
        until(lambda: len(kafka.read("posts", committed=False)) == 21, lambda: None)
        reading.log.add(BOTH)
        until(lambda: len(reading.found) == 20, reading.turn)
        # Answers that are not in a row prove nothing.
        monkeypatch.setattr(read_progress, "HANGS_AFTER_S", 0.5)
        monkeypatch.setattr(read_progress, "ASKED_AGAIN_WITHIN_S", 0.01)
        reading.turn_for(1.5)
        assert not reading.log.all_restored()
        monkeypatch.setattr(read_progress, "ASKED_AGAIN_WITHIN_S", 15.0)
        until(reading.log.all_restored, reading.turn)
        reading.turn_for(0.5)
        assert reading.found[20:] == ([b"open"] if is_passed else [])
    until(lambda: reading.found[20:] == [b"open"], reading.turn)
    reading.log.close()


def test_what_a_transaction_holds_back_is_named_until_it_ends(
    kafka: KafkaLog, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_progress, "LATE_AFTER_S", 0.5)
    monkeypatch.setattr(log_consumer, "LOOK_EVERY_S", 0.1)
    reading.restore()
    log, found = reading.log, reading.found
    with kafka.transaction("upstream") as write:
        write("posts", b"open", b"x")
        until(lambda: kafka.read("posts", committed=False), lambda: None)
        produce(kafka, *keys(20, "behind"))
        until(log.late_reason, reading.turn)
        assert f"{kafka.environment.topic('posts')}[" in log.late_reason()
        assert "abort-hanging" in log.late_reason()
        # Of the other partition all comes.
        assert 0 < len(found) < 20
    until(lambda: len(found) == 21 and not log.late_reason(), reading.turn)


def test_a_live_log_goes_on_where_its_restore_ended(kafka: KafkaLog, live: Reading) -> None:
    produce(kafka, *keys(100, "old"))
    live.restore()
    assert len(live.found) == 100
    # The other client has yet to find the broker.
    assert not live.log.all_live()
    until(live.log.all_live, live.turn)
    # Uncommitted: it is there before the transaction ends.
    with kafka.transaction("upstream") as write:
        write("posts", b"new", b"x")
        until(lambda: live.found[100:], live.turn)
    live.log.drop(BOTH)
    produce(kafka, b"after")
    live.turn_for(0.2)
    assert live.found[100:] == [b"new"]


def test_what_is_read_live_is_not_held_back_while_its_end_is_asked_for_again(
    kafka: KafkaLog, live: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_consumer, "_ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(log_consumer, "_UNUSED_EVERY_S", 0.0)
    produce(kafka, *keys(10))
    live.restore()
    until(live.log.all_live, live.turn)
    # As in a rebalance, whose answer takes its time.
    live.log.restore_again()
    monkeypatch.setattr(log_consumer._Adding, "done", lambda _: False)
    produce(kafka, *keys(10, "new"))
    until(lambda: len(live.found) == 20, live.turn)
    live.turn_for(0.5)
    assert not live.log.late_reason()


def test_an_offset_out_of_range_stops_that_partition_alone(
    kafka: KafkaLog, reading: Reading
) -> None:
    produce(kafka, *keys(40))
    lost, other = TopicPartition("posts", 0), TopicPartition("posts", 1)
    reading.log.add({lost: 10_000, other: BEGINNING})
    until(lambda: lost in reading.log.stopped and reading.log.restored(other), reading.turn)
    assert "out of range" in reading.log.ready_reason()
    assert reading.sources == {other}


def test_a_restore_that_is_asked_again_goes_to_the_end_as_it_is_now(
    kafka: KafkaLog, reading: Reading
) -> None:
    # Of a topic that is new the first answer may be an error.
    reading.restore()
    log = reading.log
    log.drop(BOTH)
    log.add(BOTH)
    until(log._asking[0].done, lambda: time.sleep(0.01))
    produce(kafka, *keys(100))
    # It knows no end yet but the one that it has asked for.
    log.restore_again()
    until(log.all_restored, reading.turn)
    assert len(reading.found) == 100


def test_another_client_goes_on_where_one_that_knows_no_broker_was(
    kafka: KafkaLog, live: Reading
) -> None:
    produce(kafka, *keys(200))
    log, live.most = live.log, 10
    log.add(BOTH)
    until(lambda: 20 <= len(live.found) < 180, live.turn)
    before = log._restoring
    assert before is not None
    forget_brokers(before)
    until(lambda: log.all_live() and log._restoring is not before, live.turn)
    assert sorted(live.found) == sorted(keys(200))
    live_before = log._live
    assert live_before is not None
    forget_brokers(live_before)
    produce(kafka, *keys(200, "new"))
    until(lambda: len(live.found) >= 400 and log._live is not live_before, live.turn)
    assert sorted(live.found) == sorted(keys(200) + keys(200, "new"))


def test_a_restore_waits_for_full_reads_until_less_is_left(
    kafka: KafkaLog, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch brings few small batches, so without the wait a restore is as many cycles."""
    gathered = []

    def noted(*about: Any, gathers: bool, **more: Any) -> Any:
        gathered.append(gathers)
        return fetch(*about, gathers=gathers, **more)

    monkeypatch.setattr(log_consumer, "fetch", noted)
    produce(kafka, *keys(120))
    reading.restore()
    assert sorted(reading.found) == sorted(keys(120))
    assert gathered.count(True) >= 2
    assert not gathered[-1]


def test_no_client_is_idle_before_it_has_something_to_read(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka lets one that was idle sleep for up to a second once it is given a partition."""
    made, new = [], Connection.new_log_consumer

    def noted(connection: Connection, **settings: Any) -> Any:
        made.append(settings)
        return new(connection, **settings)

    monkeypatch.setattr(Connection, "new_log_consumer", noted)
    live = Reading(kafka, live=True)
    live.turn()
    assert made == []
    live.restore()
    until(live.log.all_live, live.turn)
    assert [one.get("committed", True) for one in made] == [True, False]
    live.log.close()
