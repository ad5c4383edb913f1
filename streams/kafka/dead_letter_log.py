"""Reads `dead-letters` for operators: which records were rejected, why, and which were replayed.

A replay leaves a note on the same topic: a record without a value, whose headers name the rejected
record by `topic`, `partition` and `offset`, and say where, when and by whom it was sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.batch_headers import BatchHeaders
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import (
    COMMAND_FETCH_WAIT_MS,
    ClientHealth,
    new_log_consumer,
)
from feedmill.streams.kafka.dead_letters import RECORDS_HEADER, TOPIC, decode_range_letter
from feedmill.streams.settings.environment import Environment

CONNECT_S = 5.0
_READ_S = 30.0
_LETTERS = TopicPartition(TOPIC, 0)
_NO_CONNECTION = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)


class RejectedAt(NamedTuple):
    """Where a rejected record stands: it identifies the record, however often it was lettered."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Replay:
    """That a rejected record was sent again: to which partition and offset of its topic."""

    at_ms: int
    by: str
    partition: int
    offset: int
    edited: bool


@dataclass(frozen=True)
class LetterHead:
    """A dead letter without key and value.

    Attributes
    ----------
    id
        Its offset in `dead-letters`, by which commands name it.
    at_ms
        When it was written, Unix milliseconds.
    rejected
        The record that was rejected.
    stage, error
        Who rejected it, and why.
    records
        How many a range letter stands for; 0 for the letter of one record.
    key_is_cut, value_is_cut
        Whether the record's key and value are there in part only.
    """

    id: int
    at_ms: int
    rejected: RejectedAt
    stage: str
    error: str
    key_is_cut: bool
    value_is_cut: bool
    records: int = 0


@dataclass(frozen=True)
class DeadLetterScan:
    """The letters that were asked for, oldest first, and every replay by what was replayed."""

    letters: list[LetterHead]
    replays: dict[RejectedAt, Replay]


class SharedRecord(NamedTuple):
    """A record of a range letter, as if it had a letter of its own.

    `missing` says why there is neither key nor value; "" where the record could be read.
    """

    letter: LetterHead
    key: bytes | None
    value: bytes | None
    missing: str = ""


class DeadLetterLog:
    """Reads the topic; made by `open_dead_letters`.  Its calls wait, some seconds at most."""

    def __init__(self, consumer: Consumer, environment: Environment, headers: BatchHeaders) -> None:
        self._consumer = consumer
        self._environment = environment
        self._topic = environment.topic(TOPIC)
        self._headers = headers

    def scan(self, is_wanted: Callable[[LetterHead], bool]) -> DeadLetterScan:
        """Read the whole topic, committed records alone; keep what is wanted."""
        letters: list[LetterHead] = []
        replays: dict[RejectedAt, Replay] = {}
        for message in self._records(KafkaPartition(self._topic, 0, OFFSET_BEGINNING)):
            headers = _headers(message)
            rejected = _rejected_at(headers)
            if rejected is None:
                continue
            if "replayed_offset" in headers:
                replays[rejected] = _replay(headers)
                continue
            head = _head(message, headers, rejected)
            if is_wanted(head):
                letters.append(head)
        return DeadLetterScan(letters, replays)

    def record(self, letter: LetterHead) -> tuple[bytes | None, bytes | None]:
        """Return key and value of a letter.

        Raises
        ------
        UsageError
            The letter is not on the topic any more.
        """
        self._consumer.assign([KafkaPartition(self._topic, 0, letter.id)])
        message = self._next()
        if message is None or message.offset() != letter.id:
            raise UsageError(f"dead letter {letter.id} is gone from `{self._topic}`")
        return message.key(), message.value()

    def shared(self, letter: LetterHead) -> Iterator[SharedRecord]:
        """Read the records of a range letter from their topic, in their order.

        Raises
        ------
        UsageError
            Its value is not that of a range letter.
        """
        _, value = self.record(letter)
        try:
            found = decode_range_letter(value)
        except ValueError as error:
            raise UsageError(f"dead letter {letter.id} is no range letter: {error}") from error
        source = TopicPartition(found.topic, found.partition)
        for first, last in found.ranges:
            due, missing = first, f"it is gone from `{source.topic}`"
            try:
                for message in self._from(source, first):
                    offset = min(message.offset(), last + 1)
                    yield from _absent(letter, source, range(due, offset), missing)
                    due = offset + 1
                    if offset > last:
                        break
                    at = RejectedAt(*source, offset)
                    yield SharedRecord(_of_one(letter, at), message.key(), message.value())
            except KafkaException as error:
                missing = f"it cannot be read: {error.args[0].str()}"
            yield from _absent(letter, source, range(due, last + 1), missing)

    def _from(self, source: TopicPartition, offset: int) -> Iterator[Message]:
        """Yield the records of a partition from an offset on, or from the first one left."""
        place = KafkaPartition(self._environment.topic(source.topic), source.partition, offset)
        first, end = self._consumer.get_watermark_offsets(place, timeout=CONNECT_S)
        place.offset = max(offset, first)
        return self._records(place) if place.offset < end else iter(())

    def _records(self, place: KafkaPartition) -> Iterator[Message]:
        self._consumer.assign([place])
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        """Return the next record; None at the end of the topic."""
        until = time.monotonic() + _READ_S
        while time.monotonic() < until:
            message = self._consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return message
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            if error.code() == KafkaError._BAD_COMPRESSION and message.topic() == self._topic:
                # No letter of ours is in it.
                self._headers.pass_batches(self._consumer, _LETTERS, message)
                continue
            raise KafkaException(error)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


@contextmanager
def open_dead_letters(environment: Environment) -> Iterator[DeadLetterLog]:
    """Open the topic `dead-letters`.

    Raises
    ------
    UsageError
        Kafka cannot be reached, or has no such topic.
    """
    name, health = environment.topic(TOPIC), ClientHealth()
    consumer = new_log_consumer(environment, health, fetch_wait_ms=COMMAND_FETCH_WAIT_MS)
    headers = BatchHeaders(environment, health)
    try:
        with kafka_errors(environment):
            found = consumer.list_topics(name, timeout=CONNECT_S).topics[name]
            if found.error is not None:
                raise UsageError(
                    f"Kafka at {environment.kafka} has no topic `{name}`; create the topics with"
                    " `feedmill topics create`, or give the right --kafka and --prefix"
                )
            yield DeadLetterLog(consumer, environment, headers)
    finally:
        consumer.close()
        headers.close()


@contextmanager
def kafka_errors(environment: Environment) -> Iterator[None]:
    """Turn errors of the client into a `UsageError` that says what to do."""
    try:
        yield
    except KafkaException as error:
        complaint: KafkaError = error.args[0]
        reason = "cannot connect" if complaint.code() in _NO_CONNECTION else complaint.str()
        raise UsageError(
            f"Kafka at {environment.kafka}: {reason}; start it (`feedmill local up` starts a local"
            " one), or correct --kafka, FEEDMILL_KAFKA or the credentials"
        ) from error


def _headers(message: Message) -> dict[str, str]:
    found = message.headers() or []
    return {name: (value or b"").decode("utf-8", "replace") for name, value in found}


def _rejected_at(headers: dict[str, str]) -> RejectedAt | None:
    """Return what the headers name; None where the record is not one of ours."""
    try:
        return RejectedAt(headers["topic"], int(headers["partition"]), int(headers["offset"]))
    except (KeyError, ValueError):
        return None


def _replay(headers: dict[str, str]) -> Replay:
    return Replay(
        at_ms=_number(headers.get("at_ms")),
        by=headers.get("by", ""),
        partition=_number(headers.get("replayed_partition")),
        offset=_number(headers.get("replayed_offset")),
        edited=headers.get("edited") == "true",
    )


def _head(message: Message, headers: dict[str, str], rejected: RejectedAt) -> LetterHead:
    return LetterHead(
        id=message.offset(),
        at_ms=message.timestamp()[1],
        rejected=rejected,
        stage=headers.get("stage", ""),
        error=headers.get("error", ""),
        key_is_cut="key_size" in headers,
        value_is_cut="size" in headers,
        records=max(0, _number(headers.get(RECORDS_HEADER))),
    )


def _of_one(letter: LetterHead, at: RejectedAt) -> LetterHead:
    return replace(letter, rejected=at, records=0)


def _absent(
    letter: LetterHead, source: TopicPartition, offsets: range, missing: str
) -> Iterator[SharedRecord]:
    for offset in offsets:
        yield SharedRecord(_of_one(letter, RejectedAt(*source, offset)), None, None, missing)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1
