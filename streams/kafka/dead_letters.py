"""Dead letters: rejected records, with the reason and where they came from.

    reject ─► a letter, while the rate allows it ────────────────────────────► the transaction
      └───► offsets ─► seal: of a finished cycle ─► letters: of a transaction ─────┘

A key or value larger than any event is cut; headers have its size and sha256.  Beyond the rate all
bad records of a partition in a transaction share a range letter, which has their offsets without
keys and values.  So a flood of bad records costs little and loses no record.  The records of a
compressed batch that no client can read share a range letter, too.  `dead-letters replay` reads the
records of a range letter where they stand.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.batches import Outgoing, TopicPartition
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord, open_topic
from feedmill.streams.kafka.validation import RejectedRecord

TOPIC = "dead-letters"
# The size of the largest event (`EVENT_BYTES`); a larger value was rejected for its size.
MAX_VALUE_BYTES = 1024 * 1024
MAX_KEY_BYTES = 4096
MAX_REASON = 2000
# The header of range letters alone: how many records the letter stands for.
RECORDS_HEADER = "records"
# More ranges make several letters, each well below the limit of the topic.
MAX_RANGES = 10_000
MAX_REASONS = 10
LETTERS_PER_S = 1_000
LETTER_BYTES_PER_S = 8 * 1024 * 1024
# With more uncommitted ranges the loop reads no more.
MOST_RANGES = 200_000


def dead_letter(
    rejection: RejectedRecord, stage: str, at_ms: int, owner: TopicPartition
) -> Outgoing:
    """Make the dead letter of a record that `stage` rejected, at Unix ms."""
    key, value = rejection.record.key, rejection.record.value
    headers: dict[str, object] = {
        "topic": rejection.source.topic,
        "partition": rejection.source.partition,
        "offset": rejection.record.offset,
        "stage": stage,
        "at_ms": at_ms,
        "error": rejection.reason[:MAX_REASON],
    }
    if value is not None and len(value) > MAX_VALUE_BYTES:
        headers |= {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        value = value[:MAX_VALUE_BYTES]
    if key is not None and len(key) > MAX_KEY_BYTES:
        headers |= {"key_size": len(key), "key_sha256": hashlib.sha256(key).hexdigest()}
        key = key[:MAX_KEY_BYTES]
    return _outgoing(key, value, owner, headers)


def _outgoing(
    key: bytes | None, value: bytes | None, owner: TopicPartition, headers: Mapping[str, object]
) -> Outgoing:
    texts = [(name, str(text).encode()) for name, text in headers.items()]
    return Outgoing(TOPIC, 0, key, value, owner, texts)


class OffsetRange(NamedTuple):
    """Adjacent bad records: all offsets from `first` to `last`, both included."""

    first: int
    last: int


class RangeReason(msgspec.Struct, frozen=True):
    """Why the record at an offset was rejected."""

    offset: int
    error: str


class RangeLetter(msgspec.Struct, frozen=True):
    """The value of a range letter, as JSON.

    Attributes
    ----------
    topic, partition
        Where the records stand; `topic` is without the prefix.
    records
        How many records: by the header of a batch, else the number of offsets.
    ranges
        Their offsets, rising, at most `MAX_RANGES`.
    reasons
        Why some of them were rejected, the first of each kind, at most `MAX_REASONS`; never empty.
    """

    topic: str
    partition: int
    records: int
    ranges: tuple[OffsetRange, ...]
    reasons: tuple[RangeReason, ...]


_DECODER = msgspec.json.Decoder(RangeLetter)


def encode_range_letter(
    letter: RangeLetter, stage: str, at_ms: int, owner: TopicPartition
) -> Outgoing:
    """Make the record of a range letter that `stage` writes.

    It has the headers of a dead letter about the first record and reason, and `records`.
    """
    headers: dict[str, object] = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.ranges[0].first,
        "stage": stage,
        "at_ms": at_ms,
        "error": letter.reasons[0].error[:MAX_REASON],
        RECORDS_HEADER: letter.records,
    }
    return _outgoing(None, msgspec.json.encode(letter), owner, headers)


def letter_of(rejection: RejectedRecord, stage: str, at_ms: int, owner: TopicPartition) -> Outgoing:
    """Make the dead letter of a record, or of a passed batch, that `stage` rejected."""
    batch = rejection.record.value
    if not isinstance(batch, PassedBatch):
        return dead_letter(rejection, stage, at_ms, owner)
    header = batch.header
    letter = RangeLetter(
        *rejection.source,
        records=header.records,
        ranges=(offsets_of(rejection),),
        reasons=(RangeReason(header.first, rejection.reason),),
    )
    return encode_range_letter(letter, stage, at_ms, owner)


def offsets_of(rejection: RejectedRecord) -> OffsetRange:
    """Return the offset of a rejected record, or the offsets of a passed batch."""
    batch = rejection.record.value
    if isinstance(batch, PassedBatch):
        return OffsetRange(batch.header.first, batch.header.last)
    return OffsetRange(rejection.record.offset, rejection.record.offset)


def decode_range_letter(value: bytes | None) -> RangeLetter:
    """Read the value of a range letter.

    Raises `ValueError`: the value is none of a range letter.
    """
    letter = _DECODER.decode(value or b"")
    if not letter.ranges or not letter.reasons:
        raise ValueError("Expected `ranges` and `reasons` with an entry at least")
    return letter


def split_ranges(
    source: TopicPartition, ranges: Sequence[OffsetRange], reasons: Sequence[RangeReason]
) -> Iterator[RangeLetter]:
    """Make the range letters of bad records, one record at each offset of the ranges."""
    told = tuple(reasons[:MAX_REASONS])
    for begin in range(0, len(ranges), MAX_RANGES):
        some = tuple(ranges[begin : begin + MAX_RANGES])
        count = sum(last - first + 1 for first, last in some)
        yield RangeLetter(source.topic, source.partition, count, some, told)


class _Place(NamedTuple):
    """On whose behalf a letter is written, and about which partition."""

    owner: TopicPartition
    stage: str
    source: TopicPartition


class _Rejected(NamedTuple):
    place: _Place
    offsets: OffsetRange
    reason: str
    at_ms: int


@dataclass
class _Shared:
    """The content of the next range letter of a place."""

    at_ms: int = 0
    ranges: list[OffsetRange] = field(default_factory=list)
    reasons: dict[str, RangeReason] = field(default_factory=dict)

    def add(self, rejected: _Rejected) -> None:
        ranges, (first, last) = self.ranges, rejected.offsets
        if ranges and ranges[-1].last + 1 == first:
            ranges[-1] = OffsetRange(ranges[-1].first, last)
        else:
            ranges.append(rejected.offsets)
        if len(self.reasons) < MAX_REASONS and rejected.reason not in self.reasons:
            self.reasons[rejected.reason] = RangeReason(first, rejected.reason)
        self.at_ms = rejected.at_ms


class Rejections:
    """Makes letters of rejected records, at a limited rate.

    The loop's thread calls `reject`; `seal` and the methods after it hold the writer's lock.  While
    uncommitted letters take more than `most_bytes` (now `waiting_bytes`), rejected records share
    range letters; `shared_count` says how many did.
    """

    def __init__(self, most_bytes: int, now: Callable[[], float] = time.monotonic) -> None:
        self.waiting_bytes = self.shared_count = 0
        self._most_bytes = most_bytes
        self._now = now
        self._until = 0.0
        self._letters_left = self._bytes_left = 0
        self._gathered: list[_Rejected] = []
        self._sealed: dict[_Place, _Shared] = {}

    @property
    def is_full(self) -> bool:
        """True while too many ranges are uncommitted, so that the loop must wait."""
        return sum(len(shared.ranges) for shared in self._sealed.values()) > MOST_RANGES

    @property
    def is_sharing(self) -> bool:
        """True if a record since the last `seal` shares a letter."""
        return bool(self._gathered)

    def reject(
        self,
        rejection: RejectedRecord,
        stage: str,
        at_ms: int,
        owner: TopicPartition,
        *,
        is_whole: bool,
    ) -> Outgoing | None:
        """Return the dead letter of a record; None if the record shares a range letter.

        A record without key and value (`is_whole` False) always shares one.
        """
        if is_whole and self._allows():
            made = letter_of(rejection, stage, at_ms, owner)
            self._letters_left -= 1
            self._bytes_left -= outgoing_bytes([made])
            self.waiting_bytes += outgoing_bytes([made])
            return made
        place = _Place(owner, stage, rejection.source)
        reason = rejection.reason[:MAX_REASON]
        self._gathered.append(_Rejected(place, offsets_of(rejection), reason, at_ms))
        return None

    def seal(self) -> bool:
        """End a cycle, with which the taken records are committed; return `is_sharing`."""
        gathered, self._gathered = self._gathered, []
        for rejected in gathered:
            self._sealed.setdefault(rejected.place, _Shared()).add(rejected)
        self.shared_count += len(gathered)
        return bool(gathered)

    def letters(self) -> list[Outgoing]:
        """Return the range letters of sealed records, for the next transaction."""
        sealed, self._sealed = self._sealed, {}
        made: list[Outgoing] = []
        for place, shared in sealed.items():
            ranges, reasons = _joined(shared.ranges), (*shared.reasons.values(),)
            made += [
                encode_range_letter(letter, place.stage, shared.at_ms, place.owner)
                for letter in split_ranges(place.source, ranges, reasons)
            ]
        self.waiting_bytes += outgoing_bytes(made)
        return made

    def keep(self, owners: Collection[TopicPartition], left: Iterable[Outgoing]) -> None:
        """Forget what other owners rejected; `left` are all uncommitted records."""
        self._gathered = [rejected for rejected in self._gathered if rejected.place.owner in owners]
        self._sealed = {at: shared for at, shared in self._sealed.items() if at.owner in owners}
        self.count_waiting(left)

    def count_waiting(self, left: Iterable[Outgoing]) -> None:
        """Count `waiting_bytes` again, among all uncommitted records."""
        self.waiting_bytes = outgoing_bytes([record for record in left if record.topic == TOPIC])

    def _allows(self) -> bool:
        now = self._now()
        if now >= self._until:
            self._until = now + 1.0
            self._letters_left, self._bytes_left = LETTERS_PER_S, LETTER_BYTES_PER_S
        is_within_rate = self._letters_left > 0 and self._bytes_left > 0
        return is_within_rate and self.waiting_bytes < self._most_bytes


def outgoing_bytes(records: Collection[Outgoing]) -> int:
    """Return what uncommitted records take."""
    texts = sum([len(record.key or b"") + len(record.value or b"") for record in records])
    return texts + 64 * len(records)


def _joined(ranges: list[OffsetRange]) -> list[OffsetRange]:
    """Return ranges in order, adjacent or overlapping ones joined."""
    joined: list[OffsetRange] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1].last + 1:
            joined[-1] = OffsetRange(joined[-1].first, max(last, joined[-1].last))
        else:
            joined.append(OffsetRange(first, last))
    return joined


class RejectedAt(NamedTuple):
    """The place of a rejected record, which identifies the record in all its letters."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Replay:
    """When and by whom a rejected record was sent again, and its new place in its topic."""

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
        How many records a range letter stands for; 0 for the letter of one record.
    key_is_cut, value_is_cut
        True if the letter has only a part of the key or value.
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
    """The wanted letters, oldest first, and all replays by the replayed record."""

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
    """Reads `dead-letters` for operators; its calls wait some seconds at most.

    A replay leaves a note on the same topic: a record without a value, whose headers name the
    rejected record by `topic`, `partition` and `offset`, and say where, when and by whom it was
    sent again.
    """

    def __init__(self, environment: Environment, letters: TopicReader) -> None:
        self._environment = environment
        self._letters = letters

    def scan(self, is_wanted: Callable[[LetterHead], bool]) -> DeadLetterScan:
        """Read the whole topic, read committed; return the wanted letters."""
        replays: dict[RejectedAt, Replay] = {}
        self._letters.seek_to_beginning()
        letters = [letter for letter in read_letters(self._letters, replays) if is_wanted(letter)]
        return DeadLetterScan(letters, replays)

    def record(self, letter: LetterHead) -> tuple[bytes | None, bytes | None]:
        """Return key and value of a letter.

        Raises `UsageError`: the letter is not on the topic any more.
        """
        found = self._letters.record_at(0, letter.id)
        if found is None:
            topic = self._environment.topic(TOPIC)
            raise UsageError(f"dead letter {letter.id} is gone from `{topic}`")
        return found.key, found.value

    def shared(self, letter: LetterHead) -> Iterator[SharedRecord]:
        """Read the records of a range letter from their topic, in their order.

        Raises `UsageError`: its value is not that of a range letter.
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
    """Read the records of a range from the reader's position; report those that are gone."""
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
    """Read on to the end; yield the letters, and add the replays to `replays`."""
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
    """Return the place that the headers name; None if the record is no dead letter."""
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
