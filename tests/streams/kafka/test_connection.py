"""A rare record reaches its topic, or nothing but a line in the log tells of it."""

import logging

import pytest

from builders.kafka_log import KafkaLog
from builders.lost_brokers import forget_brokers
from builders.waiting import until
from feedmill.streams.kafka.connection import Connection, RecordSender


def test_records_arrive_in_their_order(kafka: KafkaLog) -> None:
    sender = RecordSender(Connection(kafka.environment), "models")
    sender.serve()
    for number in (b"1", b"2"):
        sender.send(b"spam", number)
    found = until(lambda: len(read := kafka.read("models")) == 2 and read)
    assert [(one.key(), one.value()) for one in found] == [(b"spam", b"1"), (b"spam", b"2")]
    forget_brokers(before := sender._producer)
    sender.serve()
    sender.send(b"spam", b"3")
    assert sender._producer is not before
    until(lambda: len(kafka.read("models")) == 3)


def test_what_does_not_arrive_is_logged(kafka: KafkaLog, caplog: pytest.LogCaptureFixture) -> None:
    sender = RecordSender(Connection(kafka.environment), "nowhere")
    sender.send(b"spam", b"x" * 20_000_000)
    assert "cannot write" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        sender.send(b"spam", b"1")

        def is_logged() -> bool:
            sender.serve()
            return "cannot write" in caplog.text

        until(is_logged)
