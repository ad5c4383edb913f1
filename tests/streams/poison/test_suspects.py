"""After an unclean end what was not committed is tried; after two, what is judged again as well."""

import threading

import pytest

from builders.fake_log import FakeLog, Topics
from builders.records import StoredRecord
from feedmill.filters.source_window import WINDOW_RECORDS
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.poison import unclean_ends
from feedmill.streams.poison.unclean_ends import (
    MOST_POSTS,
    NOTE,
    UncleanEnds,
    read_ranges,
    suspects,
)

POSTS = TopicPartition("posts", 0)


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
    ends = UncleanEnds()
    change = AssignmentChange(
        1, gained=(0,), starts={POSTS: start}, ends={POSTS: end}, notes={0: {NOTE: note}}
    )
    ends.assigned(change)
    assert suspects(change, ends) == ({} if expected is None else {POSTS: expected})


def read(log: FakeLog, ranges: dict[TopicPartition, range]) -> list[tuple[int, int]]:
    batches = read_ranges(log.open("posts"), ranges, threading.Event())
    return [(batch.source.partition, one.offset) for batch in batches for one in batch.records]


def test_the_records_of_all_ranges_are_read_and_no_others() -> None:
    other = TopicPartition("posts", 1)
    topics: Topics = {POSTS: [StoredRecord(i) for i in range(0, 2_000, 3)], other: []}
    topics[other] = [StoredRecord(i) for i in range(700, 900)]
    found = read(FakeLog(topics), {POSTS: range(300, 1_801), other: range(100, 705)})
    assert [at for p, at in found if p == 0] == [*range(300, 1_801, 3)]
    assert [at for p, at in found if p == 1] == [*range(700, 705)]


def test_what_stands_behind_an_open_transaction_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unclean_ends, "_SILENT_S", 0.05)
    log = FakeLog({POSTS: [StoredRecord(i) for i in range(10)]}, held={POSTS: 6})
    assert read(log, {POSTS: range(4, 10)}) == [(0, 4), (0, 5)]
