"""Messages become records by partition, ends and errors; a backlog comes in the order of times."""

import random
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.environment import Environment
from feedmill.streams.kafka import backlog
from feedmill.streams.kafka.backlog import Backlog
from feedmill.streams.kafka.batch_headers import BatchHeader, BatchHeaders
from feedmill.streams.kafka.batches import (
    RECORD_BYTES,
    FetchedRecord,
    FetchedRecords,
    TopicPartition,
    columns_of,
)
from feedmill.streams.kafka.client import ClientHealth
from feedmill.streams.kafka.messages import Fetched, Most, fetch

ENVIRONMENT = Environment(topic_prefix="x.")
CREATE_TIME, APPEND_TIME = 1, 2


class Client:
    """Hands out messages, so many at a time."""

    def __init__(self, messages: list[Message], at_once: int = 1_000) -> None:
        self._messages, self._at_once = messages, at_once
        self.sought: list[int] = []

    def consume(self, most: int, _: float) -> list[Message]:
        count = min(most, self._at_once)
        taken, self._messages = self._messages[:count], self._messages[count:]
        return taken

    def seek(self, place: Any) -> None:
        self.sought.append(place.offset)


def record(
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None = b"k",
    value: bytes | None = b"value",
    stamp: tuple[int, int] = (APPEND_TIME, 7),
) -> Message:
    place: Any = {"topic": f"x.{topic}", "partition": partition, "offset": offset}
    return Message(**place, key=key, value=value, timestamp=stamp)


def failure(code: int, topic: str | None = None, partition: int = 0, offset: int = 0) -> Message:
    place: Any = {"topic": topic and f"x.{topic}", "partition": partition, "offset": offset}
    return Message(**place, error=KafkaError(code))


def fetched(messages: list[Message], *, at_once: int = 1_000, most_bytes: int = 1 << 20) -> Fetched:
    client: Any = Client(messages, at_once)
    headers = BatchHeaders(ENVIRONMENT, ClientHealth())
    return fetch(client, headers, Most(10_000, most_bytes), wait_s=0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(0, 1),
            st.sampled_from([None, b"", b"k"]),
            st.sampled_from([None, b"", b"value"]),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([1, 3, 1_000]),
)
def test_records_are_those_of_each_partition_in_their_order(
    places: list[tuple[str, int, bytes | None, bytes | None, int]], at_once: int
) -> None:
    expected: dict[TopicPartition, list[FetchedRecord]] = defaultdict(list)
    messages = []
    for offset, (topic, partition, key, value, at_ms) in enumerate(places):
        expected[TopicPartition(topic, partition)].append(FetchedRecord(offset, at_ms, key, value))
        stamp = (APPEND_TIME, at_ms)
        messages.append(record(topic, partition, offset, key, value, stamp))
    found = fetched(messages, at_once=at_once)
    assert {at: [*records] for at, records in found.records.items()} == expected
    for at, records in found.records.items():
        assert [len(records), records[-1]] == [len(expected[at]), expected[at][-1]]
        assert records[1:3] == expected[at][1:3]
    assert not found.create_times


def test_ends_and_errors_stand_beside_the_records() -> None:
    found = fetched(
        [
            record("a", 0, 4),
            failure(KafkaError._PARTITION_EOF, "a", 0, 5),
            failure(KafkaError._ALL_BROKERS_DOWN),
            record("a", 1, 8, stamp=(CREATE_TIME, 3)),
            failure(KafkaError._AUTO_OFFSET_RESET, "b", 1),
            record("a", 0, 6),
        ]
    )
    offsets = {at.partition: records.offsets for at, records in found.records.items()}
    assert offsets == {0: [4, 6], 1: [8]}
    assert found.ends == {TopicPartition("a", 0): 5}
    assert found.create_times == {TopicPartition("a", 1)}
    assert [(source, error.code()) for source, error in found.errors] == [
        (None, KafkaError._ALL_BROKERS_DOWN),
        (TopicPartition("b", 1), KafkaError._AUTO_OFFSET_RESET),
    ]


@pytest.mark.parametrize(("key", "value"), [(None, None), (b"k", b"v"), (b"k" * 10_000, None)])
@pytest.mark.parametrize(("more", "count"), [(0, 100), (1, 101)])
def test_no_more_is_asked_for_once_keys_and_values_take_the_bytes(
    key: bytes | None, value: bytes | None, more: int, count: int
) -> None:
    messages = [record("a", 0, offset, key=key, value=value) for offset in range(1_000)]
    size = len(key or b"") + len(value or b"") + RECORD_BYTES
    found = fetched(messages, at_once=1, most_bytes=100 * size + more)
    assert len(found.records[TopicPartition("a", 0)]) == count


def test_columns_are_made_of_any_records_and_are_those_of_fetched_ones() -> None:
    records = [FetchedRecord(1, 2, b"k", None), FetchedRecord(3, 4, None, b"v")]
    columns = columns_of(records)
    assert [*columns] == records
    assert columns_of(columns) is columns
    assert [[*columns.since(offset)] for offset in (1, 2, 3, 4)] == [
        records,
        records[1:],
        records[1:],
        [],
    ]
    assert len(FetchedRecords()) == 0


def test_of_large_records_few_come_at_once() -> None:
    large = [record("posts", 0, n, value=b"x" * 20_000) for n in range(1_000)]
    taken = fetched(large).records[TopicPartition("posts", 0)]
    assert 50 <= len(taken) < 70
    small_first = [record("posts", 0, n) for n in range(5)] + large
    assert len(fetched(small_first).records[TopicPartition("posts", 0)]) < 80


def test_a_batch_is_passed_once_however_often_its_client_complains() -> None:
    headers = BatchHeaders(ENVIRONMENT, ClientHealth())
    source = TopicPartition("a", 0)
    for first, last in ((10, 12), (14, 14)):
        headers._known[source, first] = [BatchHeader(first, last, 1, "zstd", 9, 7)]
    complaints = [failure(KafkaError._BAD_COMPRESSION, "a", 0, at) for at in (10, 10, 10)]
    more = [record("a", 0, 13), failure(KafkaError._BAD_COMPRESSION, "a", 0, 14)]
    client: Any = Client([record("a", 0, 9), *complaints, *more])
    found = fetch(client, headers, Most(100, 1 << 20), wait_s=0)
    # What comes behind a batch that was passed is of the same fetch.
    assert found.records[source].offsets == [9, 12, 13, 14]
    assert client.sought == [13, 15]
    assert headers.take_passed() == {"a": 2}
    headers.close()


Log = list[FetchedRecord]
MOST_BYTES = 1024 * 1024


def posts_of(partition: int) -> TopicPartition:
    return TopicPartition("posts", partition)


def log_of(*times: int) -> Log:
    return [FetchedRecord(n, at_ms, None, b"x" * 10) for n, at_ms in enumerate(times)]


def fetched_of(partition: int, records: Log, end: int | None = None) -> Fetched:
    ends = {} if end is None else {posts_of(partition): end}
    return Fetched({posts_of(partition): columns_of(list(records))}, ends)


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
        parts.append([fetched_of(partition, log[a:b]) for a, b in pairwise(cuts)])
        parts[-1].append(Fetched(ends={posts_of(partition): len(log)}))
    waiting = Backlog(map(posts_of, logs), MOST_BYTES)
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
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    assert places(waiting.take(fetched_of(0, log_of(1, 2)), 10)) == []
    assert places(waiting.take(fetched_of(2, log_of(7)), 10)) == [(7, 2, 0)]


def test_an_end_is_told_after_the_records_before_it() -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    taken = waiting.take(fetched_of(0, log_of(1, 5), end=4), 10)
    assert (places(taken), taken.ends) == ([], {})
    assert not waiting.is_over
    taken = waiting.take(fetched_of(1, log_of(2, 3, 9)), 1)
    assert (places(taken), taken.ends) == ([(1, 0, 0)], {})
    # 0 was read to its end, and has a record that was not handed out.
    assert waiting.unfinished == {posts_of(0), posts_of(1)}
    taken = waiting.take(Fetched(), 10)
    assert (places(taken), taken.ends) == ([(2, 1, 0), (3, 1, 1), (5, 0, 1)], {posts_of(0): 4})
    assert waiting.unfinished == {posts_of(1)}
    taken = waiting.take(Fetched(ends={posts_of(1): 3}), 10)
    assert (places(taken), taken.ends) == ([(9, 1, 2)], {posts_of(1): 3})
    assert waiting.is_over


def test_times_that_go_back_hold_nothing() -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    assert places(waiting.take(fetched_of(0, log_of(50, 10, 60)), 10)) == []
    taken = waiting.take(fetched_of(1, log_of(55), end=1), 10)
    assert places(taken) == [(10, 0, 1), (50, 0, 0), (55, 1, 0)]
    taken = waiting.take(Fetched(ends={posts_of(0): 3}), 10)
    assert {at.partition: len(records) for at, records in taken.records.items()} == {0: 1}


def test_a_partition_that_brings_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    assert places(waiting.take(fetched_of(0, log_of(1, 2), end=2), 10)) == []
    monkeypatch.setattr(backlog, "MOST_WAIT_S", -1.0)
    assert len(places(waiting.take(Fetched(), 10))) == 2
    # Nor does it hold what comes after.
    monkeypatch.undo()
    assert waiting.is_over


def test_a_full_backlog_goes_on() -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], RECORD_BYTES + 15)
    assert len(places(waiting.take(fetched_of(0, log_of(3)), 10))) == 0
    assert len(places(waiting.take(fetched_of(0, log_of(4)), 10))) == 2
    waiting.take(fetched_of(0, log_of(5)), 10)
    waiting.leave(posts_of(1))
    waiting.leave(posts_of(0))
    assert len(places(waiting.take(Fetched(), 10))) == 1
    assert waiting.is_over


def test_timestamps_of_the_producer_are_told_of_late_records_too() -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    first = fetched_of(0, log_of(1))
    first.create_times.add(posts_of(0))
    waiting.take(first, 10)
    assert posts_of(0) in waiting.take(fetched_of(1, log_of(2)), 10).create_times


@pytest.mark.parametrize(
    "record",
    [
        FetchedRecord(0, 3, b"k" * 900_000, None),
        FetchedRecord(0, 3, None, b"v" * 900_000),
        FetchedRecord(0, 3, b"key", None),
    ],
)
def test_keys_and_tombstones_fill_a_backlog(record: FetchedRecord) -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    count = handed_out = 0
    while not handed_out:
        count += 100
        handed_out = len(places(waiting.take(fetched_of(0, [record] * 100), 10)))
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
    waiting = Backlog([posts_of(0), posts_of(1)], 1 << 30)
    for _ in range(50):
        waiting.take(fetched_of(0, log_of(*[1] * 1_000)), 10)
    waiting.take(Fetched(ends={posts_of(1): 0}), 10)
    waiting.leave(posts_of(0))
    while not waiting.is_over:
        waiting.take(Fetched(), 100)
    # Each part of 1,000 is cut ten times, and shrinks.
    assert moved < 50 * 1_000 * 12


def test_of_large_records_few_are_handed_out_at_once() -> None:
    waiting = Backlog([posts_of(0), posts_of(1)], MOST_BYTES)
    for partition in (0, 1):
        large = [FetchedRecord(n, n, None, b"x" * 100) for n in range(20)]
        waiting.take(fetched_of(partition, large, end=20), 0)
    taken = [waiting.take(Fetched(), 1_000, 1_000)]
    while not waiting.is_over:
        taken.append(waiting.take(Fetched(), 1_000, 1_000))
    assert [sum(map(len, one.records.values())) for one in taken] == [10] * 4
    assert places(taken[0]) == [(n, partition, n) for n in range(5) for partition in (0, 1)]
