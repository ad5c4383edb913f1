"""One transactional_producer, without Kafka: every record reaches the client once, in its order."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.environment import Environment
from feedmill.streams.kafka import transactional_producer
from feedmill.streams.kafka.batches import Outgoing, TopicPartition
from feedmill.streams.kafka.client import ClientHealth
from feedmill.streams.kafka.offsets import CommitMark, Committed, encode_mark
from feedmill.streams.kafka.transactional_producer import TransactionalProducer

FULL_AT = (2, 5, 6)
SOURCE = TopicPartition("posts", 0)


def transaction_of(offsets: Any = None) -> TransactionalProducer:
    parts = {"environment": Environment(), "health": ClientHealth(), "offsets": offsets}
    connection: Any = SimpleNamespace(**parts)
    return TransactionalProducer(connection, "worker", stage="spam", now_ms=lambda: 0)


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
        if "headers" in more:
            self.headers[key] = more["headers"]


def test_a_full_queue_loses_no_record_and_keeps_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer = FullProducer()
    monkeypatch.setattr(transactional_producer, "new_producer", lambda *_, **__: producer)
    one = transaction_of()
    records = [Outgoing("signals.spam", i % 3, b"%d" % i, b"value", SOURCE) for i in range(6)]
    headers = (("reason", b"bad"),)
    records[4] = Outgoing("dead-letters", 0, b"4", b"value", SOURCE, headers)
    assert one.run(records, {}, None, ("owner", 1)).committed
    name = Environment().topic
    assert producer.sent == [(name(r.topic), r.value, r.key, r.partition) for r in records]
    assert producer.headers == {b"4": [*headers]}
    # Where it was full, and once for the client's reports.
    assert producer.polls == 1 + len(FULL_AT)


class StrictProducer(FullProducer):
    """A client that keeps which records each transaction has, and allows no call out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[list[Any]] = []
        self.aborted: list[list[Any]] = []
        self.open: list[Any] | None = None
        self.refuses: dict[Any, int] = {}

    def begin_transaction(self) -> None:
        assert self.open is None
        self.open = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, **more: Any) -> None:
        assert self.open is not None
        if key in self.refuses:
            raise KafkaException(KafkaError(self.refuses.pop(key)))
        self.open.append(key)

    def commit_transaction(self, _: float) -> None:
        assert self.open is not None
        self.committed.append(self.open)
        self.open = None

    def abort_transaction(self, _: float) -> None:
        assert self.open is not None
        self.aborted.append(self.open)
        self.open = None


class ReportingProducer(FullProducer):
    """A client whose records come to the offset that is their key, reported at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.reports: list[Any] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, **more: Any) -> None:
        if report := more.get("on_delivery"):
            self.reports.append(lambda: report(None, SimpleNamespace(offset=lambda: int(key))))

    def commit_transaction(self, _: float) -> None:
        for report in self.reports:
            report()
        self.reports = []
        if self.fails:
            raise KafkaException(KafkaError(KafkaError.INVALID_PRODUCER_EPOCH))

    def abort_transaction(self, _: float) -> None: ...


def test_where_its_records_came_to_is_known_of_what_was_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer = ReportingProducer()
    monkeypatch.setattr(transactional_producer, "new_producer", lambda *_, **__: producer)
    one = transaction_of()
    places = {0: TopicPartition("signals.spam", 0), 1: TopicPartition("signals.spam", 1)}

    def run(*records: tuple[int, int]) -> dict[TopicPartition, int]:
        sent = [Outgoing("signals.spam", p, b"%d" % at, b"value", SOURCE) for p, at in records]
        one.run(sent, {}, None, ("owner", 1))
        return one.written

    assert run((0, 3), (1, 7), (0, 4)) == {places[0]: 5, places[1]: 8}
    producer.fails = True
    # Others may have written before these: the member may own nothing any more.
    assert run((0, 90), (1, 90)) == {places[0]: 5, places[1]: 8}
    producer.fails = False
    assert run((1, 12)) == {places[0]: 5, places[1]: 13}
    # What has begun is filled by and by: of each partition one record is reported.
    assert one.begin()
    one.produce([Outgoing("signals.spam", 1, b"13", b"value", SOURCE)])
    one.produce([Outgoing("signals.spam", p, b"20", b"value", SOURCE) for p in (0, 1)])
    assert len(producer.reports) == 2
    assert run() == {places[0]: 21, places[1]: 14}
    # None of what is discarded counts.
    assert one.begin()
    one.produce(quality(b"1"))
    one.discard()
    assert run((1, 24)) == {places[0]: 21, places[1]: 25}


def test_records_leave_soon_where_others_rank_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lingers: list[int] = []

    def new_producer(*_: Any, linger_ms: int, **__: Any) -> FullProducer:
        lingers.append(linger_ms)
        return FullProducer()

    monkeypatch.setattr(transactional_producer, "new_producer", new_producer)
    one = transaction_of()
    one.sends_soon = True
    for soon in (True, True, False, True):
        one.sends_soon = soon
        known = len(lingers)
        # No partition waits for another producer, which takes its time.
        assert one.run([], {}, None, ("owner", 1)).committed
        assert len(lingers) == max(known, 1)
        one.adapt()
    rarely = 1_000
    assert [ms if ms == rarely else ms < 10 for ms in lingers] == [True, rarely, True]
    # What was handed to a transaction that has begun is not left behind.
    assert one.begin()
    one.sends_soon = False
    assert not one.adapt()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> StrictProducer:
    producer = StrictProducer()
    monkeypatch.setattr(transactional_producer, "new_producer", lambda *_, **__: producer)
    return producer


@pytest.fixture
def begun(strict: StrictProducer) -> TransactionalProducer:
    """A transaction that has begun, with the records `1` and `2`."""
    one = transaction_of()
    assert not one.begin(), "there is no client before connect"
    one.connect()
    assert one.begin()
    one.produce(quality(b"1"))
    one.produce(quality(b"2"))
    return one


def quality(*keys: bytes) -> list[Outgoing]:
    return [Outgoing("signals.quality", 0, key, b"value", SOURCE) for key in keys]


def test_what_was_handed_over_before_is_not_sent_again(
    strict: StrictProducer, begun: TransactionalProducer
) -> None:
    assert begun.run(quality(b"1", b"2"), {}, None, ("owner", 1)).committed
    assert begun.run(quality(b"3"), {}, None, ("owner", 2)).committed
    assert strict.committed == [[b"1", b"2"], [b"3"]]
    assert strict.aborted == []


def test_what_was_discarded_is_aborted_and_made_again(
    strict: StrictProducer, begun: TransactionalProducer
) -> None:
    begun.discard()
    assert begun.run(quality(b"2", b"3"), {}, None, ("owner", 1)).committed
    assert strict.aborted == [[b"1", b"2"]]
    assert strict.committed == [[b"2", b"3"]]
    # The next one is not affected.
    assert begun.begin()
    begun.produce(quality(b"4"))
    assert begun.run(quality(b"4"), {}, None, ("owner", 2)).committed
    assert strict.committed[1:] == [[b"4"]]


def test_a_failure_while_records_are_handed_over_aborts_and_loses_none(
    strict: StrictProducer, begun: TransactionalProducer
) -> None:
    strict.refuses[b"3"] = KafkaError._STATE
    begun.produce(quality(b"3"))
    begun.produce(quality(b"4"))
    records = quality(b"1", b"2", b"3", b"4")
    first = begun.run(records, {}, None, ("owner", 1))
    assert not first.committed
    assert first.records == records
    assert strict.aborted == [[b"1", b"2"]]
    assert begun.run(first.records, {}, None, ("owner", 2)).committed
    assert strict.committed == [[b"1", b"2", b"3", b"4"]]


def test_a_record_too_large_for_the_client_becomes_a_dead_letter_at_once(
    strict: StrictProducer, begun: TransactionalProducer
) -> None:
    strict.refuses[b"3"] = KafkaError.MSG_SIZE_TOO_LARGE
    more = quality(b"3")
    begun.produce(more)
    assert more[0].topic == "dead-letters"
    done = begun.run([*quality(b"1", b"2"), *more], {}, None, ("owner", 1))
    assert done.committed
    assert done.dead_letters == 1
    assert strict.committed == [[b"1", b"2", more[0].key]]


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
    monkeypatch.setattr(transactional_producer, "new_producer", lambda *_, **__: next(waiting))
    monkeypatch.setattr(transactional_producer, "_PATIENCE_S", 0.05)
    mark = encode_mark(CommitMark(by="owner", number=0))
    answered: Future[Any] = Future()
    answered.set_result({SOURCE: Committed(7, mark)})
    offsets = SimpleNamespace(committed=lambda *_: answered)
    one = transaction_of(offsets)
    records = [Outgoing("signals.spam", 0, b"1", b"value", SOURCE)]
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


class FencedProducer(StrictProducer):
    """A client that was fenced while its process stood still: `poll` raises that, and once."""

    def poll(self, _: float) -> None:
        self.polls += 1
        if self.polls == 1:
            raise KafkaException(KafkaError(KafkaError._FENCED, fatal=True))


def test_a_producer_that_was_fenced_between_transactions_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producers = [FencedProducer(), StrictProducer()]
    waiting = iter(producers)
    monkeypatch.setattr(transactional_producer, "new_producer", lambda *_, **__: next(waiting))
    one = transaction_of()
    one.connect()
    assert one.begin()
    one.produce(quality(b"1"))
    one.serve()
    one.produce(quality(b"2"))
    assert one.run(quality(b"1", b"2"), {}, None, ("owner", 1)).committed
    assert [fake.committed for fake in producers] == [[], [[b"1", b"2"]]]
    one.serve()
    assert one.run(quality(b"3"), {}, None, ("owner", 2)).committed
    assert producers[1].committed[1:] == [[b"3"]]
