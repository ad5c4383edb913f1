"""Runs one transaction of librdkafka after the other, with every way it may end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.streams.kafka.batches import FetchedRecord, Outgoing, TopicPartition
from feedmill.streams.kafka.client import CallIsStuck, bounded, new_producer, refusal
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.dead_letters import TOPIC, dead_letter
from feedmill.streams.kafka.offsets import decode_mark
from feedmill.streams.kafka.validation import RejectedRecord

log = logging.getLogger(__name__)

# Longer than between two commits; or short, if other workers rank by its records.
_COMMIT_LINGER_MS, _SOON_LINGER_MS = 1_000, 2
_CALL_S = 5.0
_INIT_S = 10.0
# After so long another producer takes over, which may find the coordinator.
_PATIENCE_S = 15.0
# How much longer than its timeout a call may take.
_STUCK_S = 2.0
# Errors of a member that the group expelled, or that has missed a rebalance.
_EXPELLED = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
)
_REFUSED = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG,
    KafkaError.RECORD_LIST_TOO_LARGE,
)


@dataclass
class Outcome:
    """How a transaction ended; `records` are what the next one must send."""

    committed: bool
    records: list[Outgoing] = field(default_factory=list)
    trouble: str = ""
    is_expelled: bool = False
    dead_letters: int = 0
    pause_s: float = 0.0


class TransactionalProducer:
    """Runs transactions, one at a time, on whatever thread asks.

    A fatal or fenced producer is replaced; whether its last transaction had been committed is
    then read from the group's offsets, so that nothing is sent twice.

    Attributes
    ----------
    written
        By partition the offset behind one of its records in the last transaction that committed.
    sends_soon
        Whether records leave within milliseconds, or only with the commit; see `adapt`.
    """

    def __init__(
        self, connection: Connection, group: str, *, stage: str, now_ms: Callable[[], int]
    ) -> None:
        self.written: dict[TopicPartition, int] = {}
        self.sends_soon = False
        self._now_ms = now_ms
        self._environment, self._health = connection.environment, connection.health
        self._offsets = connection.offsets
        self._group = group
        self._stage = stage
        self._id = f"{group}/{connection.environment.instance}"
        self._producer: Producer | None = None
        self._begun: Producer | None = None  # the producer with a transaction from `begin`
        self._failure: KafkaError | None = None  # of a `produce` in that transaction
        self._dead_letters = 0  # made in that transaction
        self._ends: dict[TopicPartition, int] = {}  # of its records; 0: not known yet
        self._discarded = False
        self._is_soon = False  # whether the producer sends soon
        self._careful = False
        self._closed = threading.Event()
        self._renew = threading.Event()
        self._unsure: tuple[str, int] | None = None

    def connect(self) -> None:
        """Get a producer that may begin transactions, however long Kafka is away.

        It ends an open transaction of an earlier process by this instance's name.
        """
        while self._producer is None and not self._closed.is_set():
            self._is_soon = self.sends_soon
            linger_ms = _SOON_LINGER_MS if self._is_soon else _COMMIT_LINGER_MS
            producer = new_producer(
                self._environment, self._health, transactional_id=self._id, linger_ms=linger_ms
            )
            try:
                bounded(partial(producer.init_transactions, _INIT_S), _INIT_S + _STUCK_S)
            except KafkaException as error:
                self._health.report(self._named(error.args[0]))
                self._closed.wait(0.5)
                continue
            except CallIsStuck:
                self._health.report("a transactional call hangs; trying another producer")
                continue
            self._producer = producer

    def begin(self) -> bool:
        """Begin the next transaction before `run`, so that `produce` may fill it meanwhile.

        False if that is impossible now: then `run` begins it, or says why not.
        """
        producer = self._producer
        is_other = self._renew.is_set() or self._is_soon != self.sends_soon
        if producer is None or self._careful or self.is_unsure or is_other:
            return False
        try:
            producer.begin_transaction()
        except KafkaException:
            return False
        self._begun, self._failure, self._discarded, self._ends = producer, None, False, {}
        return True

    def produce(self, records: list[Outgoing]) -> None:
        """Hand records to the transaction that has begun; errors are reported by `run`.

        A record that the client refuses for its size is replaced in `records` by a dead letter.
        """
        if self._begun is None or self._failure is not None:
            return
        try:
            self._dead_letters += self._produce(self._begun, records, [])
        except KafkaException as error:
            self._failure = error.args[0]

    def discard(self) -> None:
        """Let `run` abort the transaction that has begun: its records changed."""
        self._discarded = True

    def run(
        self,
        records: list[Outgoing],
        offsets: Mapping[TopicPartition, tuple[int, str]],
        session: object,
        mark: tuple[str, int],
        deadline: float | None = None,
    ) -> Outcome:
        """Send records and offsets in one transaction; return how it ended, never raise.

        If a transaction has begun, all of `records` were handed to `produce`.
        """
        if self._renew.is_set():
            self._renew.clear()
            self._producer = None
        begun, self._begun = self._begun, None
        dead_letters, self._dead_letters = self._dead_letters, 0
        if self._producer is None and deadline is None:
            self.connect()
        producer = self._producer
        if producer is None:
            return Outcome(False, records, "commit: no connection", pause_s=0.1)
        refused: list[int] = []
        try:
            is_filled = begun is producer
            if is_filled and self._failure is not None:
                raise KafkaException(self._failure)
            if is_filled and self._discarded:
                self._finish(producer.abort_transaction, deadline)
                is_filled = False
            if not is_filled:
                self._ends = {}
                producer.begin_transaction()
                dead_letters += self._produce(producer, records, refused)
            producer.poll(0)  # for the client's reports
            places = [
                KafkaPartition(self._environment.topic(at.topic), at.partition, offset, text)
                for at, (offset, text) in offsets.items()
            ]
            send = partial(producer.send_offsets_to_transaction, places, session, _CALL_S)
            bounded(send, _CALL_S + _STUCK_S)
            self._unsure = mark
            self._finish(producer.commit_transaction, deadline)
        except KafkaException as error:
            return self._failed(producer, error.args[0], records, refused, deadline)
        except CallIsStuck:
            return self._stuck(records)
        self._unsure, self._careful = None, False
        # The commit flushed, so all reports have come.
        self.written.update(self._ends)
        return Outcome(True, dead_letters=dead_letters)

    def close(self) -> None:
        self._closed.set()
        self._producer = self._begun = None

    # --- producing -------------------------------------------------------------------------

    def _produce(self, producer: Producer, records: list[Outgoing], refused: list[int]) -> int:
        """Hand everything to the client; what it refuses for its size becomes a dead letter."""
        dead_letters, produce, is_careful = 0, producer.produce, self._careful
        topics = {record.topic for record in records}
        names = {topic: self._environment.topic(topic) for topic in topics}
        # One report a partition: reports come all at once and hold up the loop.
        ends = self._ends
        last = {(record.topic, record.partition): i for i, record in enumerate(records)}
        asked = {i: TopicPartition(*at) for at, i in last.items() if at not in ends}
        ends |= dict.fromkeys(asked.values(), 0)
        for i, record in enumerate(records):
            topic = names[record.topic]
            try:
                if not (is_careful or record.headers or i in asked):
                    try:  # The usual way; in a backlog this call is most of a transaction.
                        produce(topic, record.value, record.key, record.partition)
                        continue
                    except BufferError:
                        pass  # `_send` waits for room.
                report = None
                if is_careful or i in asked:
                    # The guilty record of a refused batch is known only if all are reported.
                    report = _report(i, record, refused if is_careful else [], ends)
                self._send(producer, topic, record, report)
            except KafkaException as error:
                if error.args[0].code() not in _REFUSED:
                    raise
                records[i] = dead = self._dead_letter(record, error.args[0])
                dead_letters += 1
                self._send(producer, self._environment.topic(TOPIC), dead, None)
        return dead_letters

    def _send(
        self, producer: Producer, topic: str, record: Outgoing, callback: Callable[..., None] | None
    ) -> None:
        more: dict[str, Any] = {"on_delivery": callback} if callback else {}
        if record.headers:
            more["headers"] = list(record.headers)
        while True:
            try:
                producer.produce(topic, record.value, record.key, record.partition, **more)
                return
            except BufferError:
                producer.poll(0.05)

    def _dead_letter(self, record: Outgoing, error: KafkaError) -> Outgoing:
        """A dead letter instead of a record that Kafka does not take."""
        if record.topic == TOPIC:
            # A letter that was cut and is still refused keeps only its headers.
            return Outgoing(TOPIC, 0, None, None, record.owner, record.headers)
        at = TopicPartition(record.topic, record.partition)
        refused = FetchedRecord(-1, 0, record.key, record.value)
        rejected = RejectedRecord(at, refused, error.str())
        return dead_letter(rejected, self._stage, self._now_ms(), record.owner)

    # --- endings ---------------------------------------------------------------------------

    def _finish(self, end: Callable[[float], None], deadline: float | None) -> None:
        """Call `end` until it neither times out nor asks to be called again.

        Raises `CallIsStuck`: without a deadline, if no call was answered for `_PATIENCE_S`.
        """
        patient_until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                left = _CALL_S if deadline is None else max(0.1, deadline - time.monotonic())
                bounded(partial(end, left), left + _STUCK_S)
                return
            except KafkaException as error:
                self._health.report(error.args[0])
                now = time.monotonic()
                if deadline is None and now >= patient_until:
                    raise CallIsStuck from error
                late = deadline is not None and now >= deadline
                if not error.args[0].retriable() or late or self._closed.is_set():
                    raise

    def _failed(
        self,
        producer: Producer,
        error: KafkaError,
        records: list[Outgoing],
        refused: list[int],
        deadline: float | None,
    ) -> Outcome:
        expelled = error.code() in _EXPELLED
        if not expelled:
            self._health.report(error)
        named = self._named(error)
        trouble = named if isinstance(named, str) else error.str()
        outcome = Outcome(False, records, f"commit: {trouble}", is_expelled=expelled)
        if error.fatal():
            self._producer = None
            return outcome
        try:
            self._finish(producer.abort_transaction, deadline or time.monotonic() + _INIT_S)
        except KafkaException as failure:
            self._health.report(failure.args[0])
            self._producer, outcome.pause_s = None, 0.2
            return outcome
        except CallIsStuck:
            return self._stuck(records)
        # An aborted transaction was not committed.
        self._unsure = None
        if error.code() == KafkaError._TIMED_OUT:
            # The producer may wait for a coordinator that is gone.
            self._producer = None
        if error.code() in _REFUSED:
            outcome.dead_letters = self._replace(records, refused, error)
        elif not expelled:
            outcome.pause_s = 0.1
        return outcome

    def _named(self, error: KafkaError) -> KafkaError | str:
        """Return an error, or the right that it says this process lacks on its id."""
        if error.code() != KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return error
        name = self._environment.topic(self._id)
        return refusal(self._environment, "Write", f"transactional id `{name}`")

    def _replace(self, records: list[Outgoing], refused: list[int], error: KafkaError) -> int:
        """Replace refused records by dead letters; the first time only find out which these are."""
        if not refused:
            self._careful = True
            return 0
        # A broker refuses whole batches, in which the large records are to blame.
        sizes = {i: len(records[i].value or b"") + len(records[i].key or b"") for i in refused}
        guilty = [i for i, size in sizes.items() if 2 * size >= max(sizes.values())]
        for i in guilty:
            records[i] = self._dead_letter(records[i], error)
        return len(guilty)

    @property
    def is_unsure(self) -> bool:
        """True if it is unknown how the last transaction ended; then call `make_sure` first."""
        return self._unsure is not None

    def make_sure(
        self, records: list[Outgoing], sources: Sequence[TopicPartition], deadline: float | None
    ) -> Outcome:
        """Read from the group's offsets whether the last one was committed after all.

        `records` are what it sent, `sources` the partitions whose offsets it moved.
        """
        if self._producer is None:
            if deadline is not None:
                return Outcome(False, records, "commit: no connection", pause_s=0.1)
            # A new producer with the same id ends the open transaction of the old one.
            self.connect()
        try:
            wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            found = self._offsets.committed(self._group, sources).result(wait_s)
        except (KafkaException, TimeoutError):
            return Outcome(False, records, "commit: waiting for the last one", pause_s=0.1)
        marks = [decode_mark(commit.text) for commit in found.values()]
        committed = any((mark.by, mark.number) == self._unsure for mark in marks)
        self._unsure = None
        return Outcome(committed, [] if committed else records)

    def _stuck(self, records: list[Outgoing]) -> Outcome:
        trouble = "a transactional call hangs; another producer takes its place"
        self._health.report(trouble)
        self._producer = None
        return Outcome(False, records, f"commit: {trouble}")

    def adapt(self) -> bool:
        """Get a producer as `sends_soon` says, between transactions; return whether it is new."""
        if self._is_soon == self.sends_soon or self._begun is not None or self.is_unsure:
            return False
        self._producer = None
        self.connect()
        return True

    def renew(self) -> None:
        """Use another producer for the next transaction: the group expelled this member."""
        self._renew.set()

    def serve(self) -> None:
        """Take the client's reports; to be called every second or so without a transaction."""
        try:
            if self._producer is not None:
                self._producer.poll(0)
        except KafkaException as error:
            # The producer was fenced while this process stood still.
            self._health.report(error.args[0])
            self.renew()


def _report(
    i: int, record: Outgoing, refused: list[int], ends: dict[TopicPartition, int]
) -> Callable[[KafkaError | None, Message], None]:
    """Return a callback that notes whether the `i`-th record was refused, or its offset."""

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            ends[TopicPartition(record.topic, record.partition)] = (message.offset() or 0) + 1
        elif error.code() in _REFUSED:
            refused.append(i)

    return delivered
