"""A backlog comes in the order of its times, whatever order its partitions are fetched in."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.kafka import backlog
from feedmill.streams.kafka.backlog import Backlog
from feedmill.streams.kafka.batches import (
    RECORD_BYTES,
    FetchedRecord,
    FetchedRecords,
    TopicPartition,
    columns_of,
)
from feedmill.streams.kafka.messages import Fetched

Log = list[FetchedRecord]
MOST_BYTES = 1024 * 1024


def source(partition: int) -> TopicPartition:
    return TopicPartition("posts", partition)


def log_of(*times: int) -> Log:
    return [FetchedRecord(n, at_ms, None, b"x" * 10) for n, at_ms in enumerate(times)]


def fetched(partition: int, records: Log, end: int | None = None) -> Fetched:
    ends = {} if end is None else {source(partition): end}
    return Fetched({source(partition): columns_of(list(records))}, ends)


def places(taken: Fetched) -> list[tuple[int, int, int]]:
    """What was handed out, in the order in which the steps take it."""
    return sorted(
        (record.timestamp, at.partition, record.offset)
        for at, records in taken.records.items()
        for record in records
    )


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_all_of_a_backlog_comes_once_in_one_order(seed: int, most: int) -> None:
    dice = random.Random(seed)
    logs = {p: log_of(*sorted(dice.choices(range(100), k=dice.randrange(1, 80)))) for p in range(4)}
    # Partitions are fetched in any order, in parts of any size.
    parts = []
    for partition, log in logs.items():
        cuts = sorted({0, len(log), *dice.choices(range(len(log)), k=3)})
        parts.append([fetched(partition, log[a:b]) for a, b in pairwise(cuts)])
        parts[-1].append(Fetched(ends={source(partition): len(log)}))
    waiting = Backlog(map(source, logs), MOST_BYTES)
    found = []
    while any(parts):
        part = dice.choice([p for p in parts if p]).pop(0)
        found += places(waiting.take(part, most))
    while not waiting.is_over:
        assert waiting.ready_count() > 0
        taken = places(waiting.take(Fetched(), most))
        assert 0 < len(taken) <= most
        found += taken
    assert found == sorted((r.timestamp, p, r.offset) for p, log in logs.items() for r in log)


def test_other_partitions_are_not_held() -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    assert places(waiting.take(fetched(0, log_of(1, 2)), 10)) == []
    assert places(waiting.take(fetched(2, log_of(7)), 10)) == [(7, 2, 0)]


def test_an_end_is_told_after_the_records_before_it() -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    taken = waiting.take(fetched(0, log_of(1, 5), end=4), 10)
    assert (places(taken), taken.ends) == ([], {})
    assert not waiting.is_over
    taken = waiting.take(fetched(1, log_of(2, 3, 9)), 1)
    assert (places(taken), taken.ends) == ([(1, 0, 0)], {})
    # 0 was read to its end, and has a record that was not handed out.
    assert waiting.unfinished == {source(0), source(1)}
    taken = waiting.take(Fetched(), 10)
    assert (places(taken), taken.ends) == ([(2, 1, 0), (3, 1, 1), (5, 0, 1)], {source(0): 4})
    assert waiting.unfinished == {source(1)}
    taken = waiting.take(Fetched(ends={source(1): 3}), 10)
    assert (places(taken), taken.ends) == ([(9, 1, 2)], {source(1): 3})
    assert waiting.is_over


def test_times_that_go_back_hold_nothing() -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    assert places(waiting.take(fetched(0, log_of(50, 10, 60)), 10)) == []
    taken = waiting.take(fetched(1, log_of(55), end=1), 10)
    assert places(taken) == [(10, 0, 1), (50, 0, 0), (55, 1, 0)]
    taken = waiting.take(Fetched(ends={source(0): 3}), 10)
    assert {at.partition: len(records) for at, records in taken.records.items()} == {0: 1}


def test_a_partition_that_brings_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    assert places(waiting.take(fetched(0, log_of(1, 2), end=2), 10)) == []
    monkeypatch.setattr(backlog, "MOST_WAIT_S", -1.0)
    assert len(places(waiting.take(Fetched(), 10))) == 2
    # Nor does it hold what comes after.
    monkeypatch.undo()
    assert waiting.is_over


def test_a_full_backlog_goes_on() -> None:
    waiting = Backlog([source(0), source(1)], RECORD_BYTES + 15)
    assert len(places(waiting.take(fetched(0, log_of(3)), 10))) == 0
    assert len(places(waiting.take(fetched(0, log_of(4)), 10))) == 2
    waiting.take(fetched(0, log_of(5)), 10)
    waiting.leave(source(1))
    waiting.leave(source(0))
    assert len(places(waiting.take(Fetched(), 10))) == 1
    assert waiting.is_over


def test_timestamps_of_the_producer_are_told_of_late_records_too() -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    first = fetched(0, log_of(1))
    first.create_times.add(source(0))
    waiting.take(first, 10)
    assert source(0) in waiting.take(fetched(1, log_of(2)), 10).create_times


@pytest.mark.parametrize(
    "record",
    [
        FetchedRecord(0, 3, b"k" * 900_000, None),
        FetchedRecord(0, 3, None, b"v" * 900_000),
        FetchedRecord(0, 3, b"key", None),
    ],
)
def test_keys_and_tombstones_fill_a_backlog(record: FetchedRecord) -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    count = handed_out = 0
    while not handed_out:
        count += 100
        handed_out = len(places(waiting.take(fetched(0, [record] * 100), 10)))
    size = len(record.key or b"") + len(record.value or b"") + RECORD_BYTES
    assert MOST_BYTES < count * size <= MOST_BYTES + 100 * size


def test_what_is_taken_of_a_long_backlog_costs_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = 0
    cut = FetchedRecords.cut

    def counted(records: FetchedRecords, count: int) -> tuple[FetchedRecords, FetchedRecords]:
        nonlocal moved
        moved += len(records)
        return cut(records, count)

    monkeypatch.setattr(FetchedRecords, "cut", counted)
    waiting = Backlog([source(0), source(1)], 1 << 30)
    for _ in range(50):
        waiting.take(fetched(0, log_of(*[1] * 1_000)), 10)
    waiting.take(Fetched(ends={source(1): 0}), 10)
    waiting.leave(source(0))
    while not waiting.is_over:
        waiting.take(Fetched(), 100)
    # Each part of 1,000 is cut ten times, and shrinks.
    assert moved < 50 * 1_000 * 12


def test_of_large_records_few_are_handed_out_at_once() -> None:
    waiting = Backlog([source(0), source(1)], MOST_BYTES)
    for partition in (0, 1):
        large = [FetchedRecord(n, n, None, b"x" * 100) for n in range(20)]
        waiting.take(fetched(partition, large, end=20), 0)
    taken = [waiting.take(Fetched(), 1_000, 1_000)]
    while not waiting.is_over:
        taken.append(waiting.take(Fetched(), 1_000, 1_000))
    assert [sum(map(len, one.records.values())) for one in taken] == [10] * 4
    assert places(taken[0]) == [(n, partition, n) for n in range(5) for partition in (0, 1)]
