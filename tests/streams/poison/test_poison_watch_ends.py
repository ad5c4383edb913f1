"""Whoever has partitions next knows how many owners in a row ended badly, and what to try."""

import threading
from collections.abc import Mapping

import pytest

from builders.fake_log import FakeLog, KeptWriter
from builders.records import StoredRecord
from feedmill.filters.hide_rate_guard import WINDOW_RECORDS
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.poison import poison_watch
from feedmill.streams.poison.poison_watch import (
    MOST_POSTS,
    NOTE,
    UncleanEnds,
    read_ranges,
    suspects,
)

POSTS, OTHER = TopicPartition("posts", 0), TopicPartition("posts", 1)


class Kafka:
    """One partition, its note, and the workers that own it one after another."""

    def __init__(self) -> None:
        self.note = ""

    def worker(self) -> tuple[UncleanEnds, KeptWriter]:
        """A worker that owns the partition and has committed."""
        ends, writer = UncleanEnds(), KeptWriter()
        notes = {POSTS: {NOTE: self.note}} if self.note else {}
        self.note = ends.assigned(AssignmentChange(1, gained=(0,), notes=notes)).notes[POSTS][NOTE]
        return ends, writer

    def take_back(self, ends: UncleanEnds) -> None:
        self.note = ends.given_back()[POSTS][NOTE]


def test_an_end_without_giving_back_is_counted_and_one_with_it_is_not() -> None:
    kafka = Kafka()
    assert [kafka.worker()[0].before(0) for _ in range(2)] == [0, 1]
    ends, writer = kafka.worker()
    assert (ends.before(0), ends.any()) == (2, True)
    # Whoever fails gives nothing back, and whoever does has not found the cause: the count stays.
    ends.is_failed = True
    assert ends.given_back() == {}
    ends.is_failed = False
    kafka.take_back(ends)
    ends, writer = kafka.worker()
    assert ends.before(0) == 2
    # What went on for a while is forgotten, and the next end is the first.
    ends.forget(writer)
    assert not ends.any()
    kafka.note = writer.notes[POSTS, NOTE]
    ends, writer = kafka.worker()
    assert ends.before(0) == 1
    ends.forget(writer)
    kafka.take_back(ends)
    assert kafka.note == ""
    assert kafka.worker()[0].before(0) == 0


def test_a_partition_that_stays_keeps_its_count_and_one_that_goes_is_forgotten() -> None:
    ends = UncleanEnds()
    notes = {POSTS: {NOTE: "1 open", "other": "stays"}, OTHER: {NOTE: "nonsense"}}
    change = ends.assigned(AssignmentChange(1, gained=(0, 1), notes=notes))
    assert change.notes == {POSTS: {NOTE: "2 open", "other": "stays"}, OTHER: {NOTE: "0 open"}}
    assert (ends.before(0), ends.before(1)) == (2, 0)
    assert ends.given_back() == {POSTS: {NOTE: "2"}, OTHER: {NOTE: ""}}
    # The note of before is that of the commit that gave it back.
    change = AssignmentChange(2, kept=(0,), lost=(1,), notes={POSTS: {NOTE: "2"}})
    assert ends.assigned(change).notes == {POSTS: {NOTE: "2 open"}}
    assert (0 in ends, 1 in ends) == (True, False)
    # Another one had it in between, and ended.
    ends.assigned(AssignmentChange(3, gained=(0,), lost=(0,), notes={POSTS: {NOTE: "3 open"}}))
    assert ends.before(0) == 4


@pytest.mark.parametrize(
    ("note", "start", "end", "expected"),
    [
        ("", 100, 200, None),
        ("2", 100, 100, range(100)),
        ("0 open", 100, 200, range(100, 200)),
        ("0 open", 100, 100, None),
        ("0 open", 100, 1_000_000, range(100, 100 + MOST_POSTS)),
        ("1 open", 100, 200, range(200)),
        ("1 open", 9_000, 9_001, range(9_000 - WINDOW_RECORDS, 9_001)),
    ],
)
def test_what_is_tried_follows_from_the_ends_before(
    note: str, start: int, end: int, expected: range | None
) -> None:
    ends, notes = UncleanEnds(), {POSTS: {NOTE: note}}
    change = AssignmentChange(1, (0,), starts={POSTS: start}, ends={POSTS: end}, notes=notes)
    ends.assigned(change)
    assert suspects(change, ends) == ({} if expected is None else {POSTS: expected})


def read(log: FakeLog, ranges: Mapping[TopicPartition, range]) -> list[tuple[int, int]]:
    batches = read_ranges(log.open("posts"), ranges, threading.Event())
    return [(batch.source.partition, one.offset) for batch in batches for one in batch.records]


def test_the_records_of_all_ranges_are_read_and_no_others() -> None:
    some, others = [[StoredRecord(i) for i in at] for at in (range(0, 2_000, 3), range(700, 900))]
    log = FakeLog({POSTS: some, OTHER: others})
    found = read(log, {POSTS: range(300, 1_801), OTHER: range(100, 705)})
    assert [at for p, at in found if p == 0] == [*range(300, 1_801, 3)]
    assert [at for p, at in found if p == 1] == [*range(700, 705)]


def test_what_stands_behind_an_open_transaction_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(poison_watch, "_SILENT_S", 0.05)
    log = FakeLog({POSTS: [StoredRecord(i) for i in range(10)]}, held={POSTS: 6})
    assert read(log, {POSTS: range(4, 10)}) == [(0, 4), (0, 5)]
