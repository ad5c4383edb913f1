"""A client's messages become records by partition, ends and errors."""

from collections import defaultdict
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.environment import Environment
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
