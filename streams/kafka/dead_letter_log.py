"""Reads `dead-letters` for operators: which records were rejected, why, and which were replayed.

A replay leaves a note on the same topic: a record without a value, whose headers name the rejected
record by `topic`, `partition` and `offset`, and say where, when and by whom it was sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.dead_letters import (
    RECORDS_HEADER,
    TOPIC,
    RangeLetter,
    decode_range_letter,
)
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord, open_topic
from feedmill.streams.settings.environment import Environment


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

    def __init__(self, environment: Environment, letters: TopicReader) -> None:
        self._environment = environment
        self._letters = letters

    def scan(self, is_wanted: Callable[[LetterHead], bool]) -> DeadLetterScan:
        """Read the whole topic, committed records alone; keep what is wanted."""
        replays: dict[RejectedAt, Replay] = {}
        self._letters.seek_to_beginning()
        letters = [one for one in read_letters(self._letters, replays) if is_wanted(one)]
        return DeadLetterScan(letters, replays)

    def record(self, letter: LetterHead) -> tuple[bytes | None, bytes | None]:
        """Return key and value of a letter.

        Raises
        ------
        UsageError
            The letter is not on the topic any more.
        """
        found = self._letters.record_at(0, letter.id)
        if found is None:
            topic = self._environment.topic(TOPIC)
            raise UsageError(f"dead letter {letter.id} is gone from `{topic}`")
        return found.key, found.value

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
        with ExitStack() as opened:
            try:
                topic = open_topic(self._environment, found.topic, found.partition)
                reader = opened.enter_context(topic)
            except UsageError as error:
                for first, last in found.ranges:
                    offsets = range(first, last + 1)
                    yield from _absent(letter, found, offsets, f"it cannot be read: {error}")
                return
            for first, last in found.ranges:
                reader.seek(found.partition, first)
                yield from _between(reader, letter, found, first, last)


def _between(
    reader: TopicReader, letter: LetterHead, found: RangeLetter, first: int, last: int
) -> Iterator[SharedRecord]:
    """Read the records of a range, where `reader` stands; those that are gone are missing."""
    due, gone = first, f"it is gone from `{found.topic}`"
    for record in reader.read_to_end():
        passed = record.value.header if isinstance(record.value, PassedBatch) else None
        begin = record.offset if passed is None else passed.first
        yield from _absent(letter, found, range(due, min(begin, last + 1)), gone)
        if passed is not None:
            offsets = range(max(due, begin), min(record.offset, last) + 1)
            yield from _absent(letter, found, offsets, f"it cannot be read: {passed.reason}")
        elif record.offset <= last:
            at = RejectedAt(found.topic, found.partition, record.offset)
            yield SharedRecord(_of_one(letter, at), record.key, record.value)
        due = record.offset + 1
        if due > last:
            break
    yield from _absent(letter, found, range(due, last + 1), gone)


def read_letters(
    reader: TopicReader, replays: dict[RejectedAt, Replay] | None = None
) -> Iterator[LetterHead]:
    """Read on to the end; yield the letters, and add to `replays` what was replayed."""
    for record in reader.read_to_end():
        if (rejected := _rejected_at(record)) is None:
            continue
        if not record.header("replayed_offset"):
            yield _head(record, rejected)
        elif replays is not None:
            replays[rejected] = _replay(record)


@contextmanager
def open_dead_letters(environment: Environment) -> Iterator[DeadLetterLog]:
    """Open the topic `dead-letters`; raises what `open_topic` raises."""
    with open_topic(environment, TOPIC) as reader:
        yield DeadLetterLog(environment, reader)


def _rejected_at(record: TopicRecord) -> RejectedAt | None:
    """Return what the headers name; None where the record is not one of ours."""
    try:
        offsets = int(record.header("partition")), int(record.header("offset"))
    except ValueError:
        return None
    topic = record.header("topic")
    return RejectedAt(topic, *offsets) if topic else None


def _replay(record: TopicRecord) -> Replay:
    return Replay(
        at_ms=_number(record.header("at_ms")),
        by=record.header("by"),
        partition=_number(record.header("replayed_partition")),
        offset=_number(record.header("replayed_offset")),
        edited=record.header("edited") == "true",
    )


def _head(record: TopicRecord, rejected: RejectedAt) -> LetterHead:
    return LetterHead(
        id=record.offset,
        at_ms=record.at_ms,
        rejected=rejected,
        stage=record.header("stage"),
        error=record.header("error"),
        key_is_cut=bool(record.header("key_size")),
        value_is_cut=bool(record.header("size")),
        records=max(0, _number(record.header(RECORDS_HEADER))),
    )


def _of_one(letter: LetterHead, at: RejectedAt) -> LetterHead:
    return replace(letter, rejected=at, records=0)


def _absent(
    letter: LetterHead, found: RangeLetter, offsets: range, missing: str
) -> Iterator[SharedRecord]:
    for offset in offsets:
        at = RejectedAt(found.topic, found.partition, offset)
        yield SharedRecord(_of_one(letter, at), None, None, missing)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1
