"""Which rejected records have a dead letter of their own, and which share one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.bombs import bomb, send_batch
from builders.kafka_log import KafkaLog
from builders.records import StoredRecord
from builders.written_letters import write_letter
from feedmill.deploy.local import StackAddress
from feedmill.streams.kafka import dead_letters
from feedmill.streams.kafka.batches import Outgoing, TopicPartition
from feedmill.streams.kafka.dead_letters import (
    LETTER_BYTES_PER_S,
    LETTERS_PER_S,
    MAX_RANGES,
    RangeLetter,
    Rejections,
    decode_range_letter,
    open_dead_letters,
)
from feedmill.streams.kafka.validation import RejectedRecord

SOURCE, OWNER = TopicPartition("engagements", 3), TopicPartition("posts", 3)
MIB = 1024 * 1024


def bad(
    offset: int, value: bytes = b"{", reason: str = "why", source: TopicPartition = SOURCE
) -> RejectedRecord:
    return RejectedRecord(source, StoredRecord(offset, 7, b"key", value), reason)


class Taking:
    """Rejections by a clock of the test."""

    def __init__(self, most_bytes: int = 100 * MIB) -> None:
        self.now_s = 100.0
        self.rejections = Rejections(most_bytes, lambda: self.now_s)

    def take(
        self, one: RejectedRecord, owner: TopicPartition = OWNER, *, is_whole: bool = True
    ) -> bool:
        return bool(self.rejections.reject(one, "engagement", 9, owner, is_whole=is_whole))

    def use_up(self) -> None:
        """Reject so many that those that follow share a letter."""
        assert all(self.take(bad(n)) for n in range(LETTERS_PER_S))

    def shared(self) -> list[RangeLetter]:
        self.rejections.seal()
        return [*map(read, self.rejections.letters())]


def read(letter: Outgoing) -> RangeLetter:
    """Read a range letter as contracts.md has it."""
    found = decode_range_letter(letter.value)
    headers = {name: value.decode() for name, value in letter.headers}
    assert (letter.topic, letter.partition, letter.key) == ("dead-letters", 0, None)
    assert headers == {
        "topic": found.topic,
        "partition": str(found.partition),
        "offset": str(found.ranges[0].first),
        "stage": "engagement",
        "at_ms": "9",
        "error": found.reasons[0].error,
        "records": str(found.records),
    }
    return found


def test_so_many_a_second_have_their_own() -> None:
    taking = Taking()
    taking.use_up()
    assert not taking.take(bad(1_000))
    assert not taking.take(bad(1_001))
    taking.now_s += 1.0
    assert taking.take(bad(1_002))
    (letter,) = taking.shared()
    assert (letter.topic, letter.partition) == SOURCE
    assert ([*map(tuple, letter.ranges)], letter.records) == ([(1_000, 1_001)], 2)


def test_so_many_bytes_a_second_have_their_own() -> None:
    taking = Taking()
    taken = [taking.take(bad(n, b"x" * 900_000)) for n in range(100)]
    own = sum(taken)
    assert taken == [True] * own + [False] * (100 - own)
    assert LETTER_BYTES_PER_S <= own * 900_100 < LETTER_BYTES_PER_S + MIB
    (letter,) = taking.shared()
    assert [*map(tuple, letter.ranges)] == [(own, 99)]


def test_what_is_not_committed_bounds_them_too() -> None:
    taking = Taking(most_bytes=2 * MIB)
    assert sum(taking.take(bad(n, b"x" * 900_000)) for n in range(9)) == 3
    taking.now_s += 1.0
    assert not taking.take(bad(9))
    taking.rejections.count_waiting([])
    assert taking.take(bad(10))


@given(st.integers(0, 10_000))
def test_the_ranges_of_a_partition_are_exactly_its_bad_records(seed: int) -> None:
    dice = random.Random(seed)
    taking = Taking()
    taking.use_up()
    sources = [TopicPartition(t, p) for t in ("posts", "engagements") for p in range(2)]
    wanted = {at: {n for n in range(60) if dice.random() < 0.5} for at in sources}
    for at in sources:
        for offset in sorted(wanted[at]):
            taking.take(bad(offset, source=at), owner=at)
            if dice.random() < 0.2:
                taking.rejections.seal()
    found = {}
    for letter in taking.shared():
        offsets = [n for first, last in letter.ranges for n in range(first, last + 1)]
        assert offsets == sorted(set(offsets))
        assert letter.records == len(offsets)
        found[TopicPartition(letter.topic, letter.partition)] = set(offsets)
    assert found == {at: offsets for at, offsets in wanted.items() if offsets}


def test_reasons_are_the_first_of_each() -> None:
    taking = Taking()
    taking.use_up()
    for n in range(60):
        taking.take(bad(n, reason=f"{n % 3}" * 5_000))
    for n in range(60, 90):
        taking.take(bad(n, reason=f"{n}"))
    (letter,) = taking.shared()
    assert [one.offset for one in letter.reasons] == [0, 1, 2, *range(60, 67)]
    assert [len(one.error) for one in letter.reasons] == [2_000] * 3 + [2] * 7


def test_many_ranges_make_several_letters() -> None:
    taking = Taking()
    taking.use_up()
    for n in range(MAX_RANGES + 1):
        taking.take(bad(10**12 + 2 * n))
    letters = taking.shared()
    assert [len(one.ranges) for one in letters] == [MAX_RANGES, 1]
    assert sum(one.records for one in letters) == MAX_RANGES + 1


def test_what_is_taken_after_a_cycle_ended_is_of_the_next_transaction() -> None:
    taking = Taking()
    taking.use_up()
    taking.take(bad(1))
    taking.rejections.seal()
    taking.take(bad(2))
    assert [len(read(one).ranges) for one in taking.rejections.letters()] == [1]
    assert [[*map(tuple, one.ranges)] for one in taking.shared()] == [[(2, 2)]]
    assert taking.shared() == []


def test_a_partition_that_went_leaves_nothing() -> None:
    taking = Taking()
    taking.use_up()
    for at, sealed in ((1, True), (2, True), (2, False), (1, False)):
        source = TopicPartition("posts", at)
        taking.take(bad(at + 10 * sealed, source=source), owner=source)
        if sealed:
            taking.rejections.seal()
    taking.rejections.keep({TopicPartition("posts", 1)}, [])
    assert {one.partition for one in taking.shared()} == {1}


def test_many_ranges_stop_the_reading_until_they_are_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_RANGES", 2)
    taking = Taking()
    for n in range(3):
        assert not taking.rejections.is_full
        taking.take(bad(2 * n), is_whole=False)
        taking.rejections.seal()
    assert taking.rejections.is_full
    taking.rejections.letters()
    assert not taking.rejections.is_full


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b'{"topic":"posts","partition":0,"records":1,"ranges":[],"reasons":[]}',
        b'{"topic":"posts","partition":0,"records":1,"ranges":[[1]],"reasons":[]}',
    ],
)
def test_what_is_no_range_letter_is_refused(value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_range_letter(value)


# What no client inflates: 40 records.
LARGE = bomb("zstd", 20_000_000)


def test_records_that_are_no_letters_and_aborted_ones_are_skipped(
    stack: StackAddress, prefix: str
) -> None:
    log = KafkaLog.created(stack.kafka, prefix)
    log.produce("dead-letters", [(b"k", b"v")])
    write_letter(log, b"p1", b"{")
    send_batch(log.environment.kafka, log.environment.topic("dead-letters"), 0, LARGE)
    write_letter(log, b"p2", b"{")
    with log.transaction("upstream", abort=True) as produce:
        produce("dead-letters", b"k", b"aborted")
    with open_dead_letters(log.environment) as letters:
        assert [letter.id for letter in letters.scan(lambda _: True).letters] == [1, 42]
