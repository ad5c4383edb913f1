"""A change and its record of the audit are there together, or neither is: on a real Kafka."""

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from builders.kafka_log import KafkaLog
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.events.errors import UsageError
from feedmill.operations import changes as changes_module
from feedmill.operations.changes import (
    OFFSETS,
    Audited,
    Change,
    MadeBy,
    last_value,
    open_changes,
    write_change,
)
from feedmill.streams.kafka.client import (
    MAX_MESSAGE_BYTES,
    ClientHealth,
    WatchedProducer,
    new_log_consumer,
)
from feedmill.streams.kafka.topic_reader import SentRecord
from feedmill.streams.kafka.topic_table import AUDIT_BYTES, EVENT_BYTES

ANN = MadeBy("ann", "root", "box", "config set", "less bait")
SETTING = b'{"value": {"quality": 0.2, "engagement": 0.8}, "by": "ann"}'
ROUNDS = 8


@pytest.fixture
def log(stack: StackAddress, prefix: str, monkeypatch: pytest.MonkeyPatch) -> KafkaLog:
    """Topics on which a change is visible at once, however slow the machine is."""
    monkeypatch.setattr(changes_module, "_VISIBLE_S", 60.0)
    return KafkaLog.created(stack.kafka, prefix)


def audited(log: KafkaLog, *, committed: bool = True) -> list[dict[str, Any]]:
    return [json.loads(m.value()) for m in log.read("audit", committed=committed)]


def test_a_change_is_written_with_who_what_before_after_and_why(log: KafkaLog) -> None:
    log.produce("config", [(b"weights", b"")])
    sent = write_change(log.environment, ANN, Change("config", "weights", SETTING, b'{"value":1}'))
    (_, message) = log.read("config")
    assert (message.key(), message.value()) == (b"weights", SETTING)
    assert SentRecord(message.offset(), message.timestamp()[1]) == sent
    [said] = audited(log)
    assert abs(said.pop("at_ms") - sent.at_ms) < 60_000
    assert said == {
        **ANN._asdict(),
        "topic": "config",
        "key": "weights",
        "partition": 0,
        "offset": sent.offset,
        "before": {"value": 1},
        "after": json.loads(SETTING),
    }
    assert [m.key() for m in log.read("audit")] == [b"config"]


def test_who_asks_at_once_reads_the_change(log: KafkaLog) -> None:
    reader = new_log_consumer(log.environment, ClientHealth())
    places = [TopicPartition(log.environment.topic(name), 0) for name in ("config", "audit")]
    for number in range(20):
        sent = write_change(log.environment, ANN, Change("config", f"k{number}", SETTING, None))
        ends = [reader.get_watermark_offsets(place, 20)[1] for place in places]
        # As many records of the audit as of settings, and behind each its marker.
        assert ends == [sent.offset + 2] * 2
    reader.close()


def test_behind_an_open_transaction_of_somebody_else_nobody_waits_for_long(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "_VISIBLE_S", 0.2)
    with log.transaction("upstream") as produce:
        produce("config", b"weights", SETTING)
        until(lambda: log.read("config", committed=False))
        write_change(log.environment, ANN, Change("config", "gates", SETTING, None))
        assert keys_of(log) == []
    until(lambda: keys_of(log) == ["weights", "gates"])


def test_headers_are_written_and_an_empty_value_is_none_after(log: KafkaLog) -> None:
    change = Change("models", "spam", None, None, {"by": "ann", "note": ""})
    write_change(log.environment, ANN, change)
    [message] = log.read("models")
    assert (message.value(), message.headers()) == (None, [("by", b"ann")])
    [said] = audited(log)
    assert (said["before"], said["after"]) == (None, None)


def test_what_was_no_json_before_is_text_in_the_audit(log: KafkaLog) -> None:
    write_change(log.environment, ANN, Change("models", "spam", None, b'{"\xff'))
    assert [one["before"] for one in audited(log)] == ['{"\ufffd']


def test_what_fails_within_a_transaction_leaves_nothing(log: KafkaLog) -> None:
    def send_and_fail() -> None:
        with open_changes(log.environment, ANN) as changes, changes.transaction():
            changes.send("config", b"weights", SETTING)
            changes.audit(Audited("config"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_and_fail()
    assert len(log.read("config", committed=False)) == 1
    # It was aborted at once: nobody waits until it times out.
    write_change(log.environment, ANN, Change("config", "gates", SETTING, None))
    assert [m.key() for m in log.read("config")] == [b"gates"]
    assert [one["key"] for one in audited(log)] == ["gates"]


@pytest.mark.parametrize(
    ("topic", "size"),
    [("config", EVENT_BYTES), ("audit", AUDIT_BYTES), ("config", MAX_MESSAGE_BYTES)],
)
def test_a_record_that_kafka_refuses_leaves_nothing(log: KafkaLog, topic: str, size: int) -> None:
    large = b'{"value": "' + b"x" * size + b'"}'
    value, before = (large, None) if topic == "config" else (SETTING, large)
    with pytest.raises(UsageError, match=f"did not take the record for `.*{topic}`, so nothing"):
        write_change(log.environment, ANN, Change("config", "weights", value, before))
    assert log.read("config") == log.read("audit") == []


def test_a_commit_without_an_answer_says_where_to_look(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(*_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))

    monkeypatch.setattr(WatchedProducer, "commit_transaction", commit)
    with pytest.raises(UsageError, match=r"whether the change was made.*`feedmill audit`"):
        write_change(log.environment, ANN, Change("config", "weights", SETTING, None))


def test_without_a_topic_for_the_audit_nothing_is_written(log: KafkaLog) -> None:
    admin = AdminClient({"bootstrap.servers": log.environment.kafka})
    name = log.environment.topic("audit")
    admin.delete_topics([name])[name].result(20)
    until(lambda: name not in admin.list_topics(timeout=10).topics)
    with pytest.raises(UsageError, match=f"has no topic `{name}`.*`feedmill topics create`"):
        write_change(log.environment, ANN, Change("config", "weights", SETTING, None))
    assert log.read("config", committed=False) == []
    assert name not in admin.list_topics(timeout=10).topics


def test_two_commands_at_once_do_not_fence_each_other_off(log: KafkaLog) -> None:
    with (
        open_changes(log.environment, ANN) as one,
        open_changes(log.environment, ANN) as two,
        one.transaction(),
        two.transaction(),
    ):
        for changes, key in ((one, b"weights"), (two, b"gates")):
            changes.send("config", key, SETTING)
            changes.audit(Audited("config", key=key.decode()))
    assert {m.key() for m in log.read("config")} == {b"weights", b"gates"}
    assert {one["key"] for one in audited(log)} == {"weights", "gates"}


def test_the_last_value_of_a_key_is_found(log: KafkaLog) -> None:
    log.produce("models", [(b"spam", b"1"), (b"nsfw", b"2"), (b"spam", b"3"), (b"gone", b"4")])
    log.produce("models", [(b"gone", None)])
    found = [last_value(log.environment, "models", key) for key in ("spam", "gone", "never")]
    assert found == [b"3", None, None]


WRITES_FOR_EVER = """
import sys
from feedmill.operations.changes import *
from feedmill.streams.environment import Environment
environment = Environment(kafka=sys.argv[1], topic_prefix=sys.argv[2])
made_by = MadeBy("ann", "root", "box", "config set", "")
with open_changes(environment, made_by) as changes:
    print(flush=True)
    for n in range(10_000):
        key = f"{sys.argv[3]}-{n}"
        with changes.transaction():
            sent = changes.send("config", key.encode(), b'{"value": null}')
            changes.audit(Audited("config", key, 0, sent.offset))
            changes.move_group("moved", [KafkaPartition(environment.topic("posts"), 0, n)])
"""


def moved_to(log: KafkaLog) -> int:
    """The offset that the group has of `posts[0]`, -1 for none."""
    group = log.environment.group("moved")
    consumer = Consumer({"bootstrap.servers": log.environment.kafka, "group.id": group})
    try:
        place = TopicPartition(log.environment.topic("posts"), 0)
        return int(consumer.committed([place], timeout=30)[0].offset)
    finally:
        consumer.close()


def test_kill_9_at_any_moment_leaves_both_or_neither(log: KafkaLog) -> None:
    random = Random(37)
    kafka, prefix = log.environment.kafka, log.environment.topic_prefix
    for number in range(ROUNDS):
        words = [sys.executable, "-c", WRITES_FOR_EVER, kafka, prefix, str(number)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0.02, 0.3))
            process.kill()
    # Readers wait behind the last one until Kafka has aborted it.
    write_change(log.environment, ANN, Change("config", "last", SETTING, None))
    until(lambda: keys_of(log)[-1:] == ["last"], 60)
    written = keys_of(log)
    assert written == [one["key"] for one in until_audited(log)]
    assert {(m.offset(), m.key().decode()) for m in log.read("config")} == {
        (one["offset"], one["key"]) for one in audited(log)
    }
    # Some were killed in between: their records are there for who reads what is not committed.
    assert len(log.read("config", committed=False)) > len(written)
    until(lambda: f"-{moved_to(log)}" == written[-2][1:], 60)


def keys_of(log: KafkaLog) -> list[str]:
    return [m.key().decode() for m in log.read("config")]


def until_audited(log: KafkaLog) -> list[dict[str, Any]]:
    """The audit, once it has come to its last record."""
    until(lambda: audited(log)[-1]["key"] == "last", 60)
    return audited(log)


def test_the_offsets_of_a_group_move_with_their_audit(log: KafkaLog) -> None:
    place = log.environment.topic("posts")

    def move(offset: int, fail: Callable[[], None]) -> None:
        with open_changes(log.environment, ANN) as changes, changes.transaction():
            changes.move_group("moved", [TopicPartition(place, 0, offset)])
            changes.audit(Audited(OFFSETS, key="moved", after={"posts:0": offset}))
            fail()

    move(7, lambda: None)
    assert moved_to(log) == 7
    with pytest.raises(ZeroDivisionError):
        move(9, lambda: print(1 / 0))
    assert moved_to(log) == 7
    assert [one["after"] for one in audited(log)] == [{"posts:0": 7}]


def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert changes_module.user_name() == "unknown"
