"""One transaction, without Kafka: every record reaches the client once, in its order."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.kafka import transaction
from feedmill.streams.kafka.assignment import CommitMark, encode_mark
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import ClientHealth
from feedmill.streams.kafka.offsets import Committed
from feedmill.streams.kafka.transaction import Outgoing, Transaction
from feedmill.streams.settings.environment import Environment

FULL_AT = (2, 5, 6)
SOURCE = TopicPartition("posts", 0)


class FullProducer:
    """A client whose queue is full at some calls; it has room again once it was polled."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.headers: dict[bytes, Any] = {}
        self.calls = self.polls = 0

    def init_transactions(self, _: float) -> None: ...

    def begin_transaction(self) -> None: ...

    def send_offsets_to_transaction(self, *_: Any) -> None: ...

    def commit_transaction(self, _: float) -> None: ...

    def poll(self, _: float) -> None:
        self.polls += 1

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, **more: Any) -> None:
        self.calls += 1
        if self.calls in FULL_AT:
            raise BufferError
        self.sent.append((topic, value, key, partition))
        if more:
            self.headers[key] = more["headers"]


def test_a_full_queue_loses_no_record_and_keeps_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer = FullProducer()
    monkeypatch.setattr(transaction, "new_producer", lambda *_, **__: producer)
    connection: Any = SimpleNamespace(environment=Environment(), health=None, offsets=None)
    one = Transaction(connection, "worker", stage="spam", now_ms=lambda: 0)
    records = [Outgoing("signals.spam", i % 3, b"%d" % i, b"value", i % 3) for i in range(6)]
    headers = (("reason", b"bad"),)
    records[4] = Outgoing("dead-letters", 0, b"4", b"value", 1, headers)
    assert one.run(records, {}, None, ("owner", 1)).committed
    name = Environment().topic
    assert producer.sent == [(name(r.topic), r.value, r.key, r.partition) for r in records]
    assert producer.headers == {b"4": [*headers]}
    # Once where it was full twice in a row, and once at the end.
    assert producer.polls == 2


class ForsakenProducer(FullProducer):
    """A client one of whose calls times out each time, as if its coordinator were gone."""

    def __init__(self, call: str) -> None:
        super().__init__()
        setattr(self, call, self._time_out)

    def abort_transaction(self, _: float) -> None: ...

    def _time_out(self, *_: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))


@pytest.mark.parametrize("call", ["commit_transaction", "send_offsets_to_transaction"])
def test_a_producer_that_finds_no_coordinator_is_replaced(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    producers = [ForsakenProducer(call), FullProducer()]
    waiting = iter(producers)
    monkeypatch.setattr(transaction, "new_producer", lambda *_, **__: next(waiting))
    monkeypatch.setattr(transaction, "_PATIENCE_S", 0.05)
    mark = encode_mark(CommitMark(by="owner", number=0))
    offsets = SimpleNamespace(committed=lambda *_: answered({SOURCE: Committed(7, mark)}))
    connection: Any = SimpleNamespace(
        environment=Environment(), health=ClientHealth(), offsets=offsets
    )
    one = Transaction(connection, "worker", stage="spam", now_ms=lambda: 0)
    records = [Outgoing("signals.spam", 0, b"1", b"value", 0)]
    first = one.run(records, {}, None, ("owner", 1))
    assert not first.committed
    if call == "commit_transaction":
        assert one.is_unsure
        # The group's offsets still have the mark of the one before.
        assert not one.make_sure(first.records, [SOURCE], None).committed
    assert not one.is_unsure
    assert one.run(first.records, {}, None, ("owner", 2)).committed
    name = Environment().topic
    assert producers[1].sent == [(name(r.topic), r.value, r.key, r.partition) for r in records]


def answered(found: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(found)
    return future
