import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from feedmill.events.partition import (
    murmur2,
    murmur2_many,
    of_shards,
    partition_of,
    partitions_of,
    shard_of,
)


@given(st.binary(max_size=300))
def test_murmur2_agrees_with_kafka_python(key: bytes) -> None:
    assert murmur2(key) == kafka_python_murmur2(key) & 0xFFFFFFFF


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_many_keys_hash_as_one_by_one(keys: list[bytes]) -> None:
    assert murmur2_many(keys).tolist() == [murmur2(key) for key in keys]


@given(st.lists(st.text(min_size=1, max_size=20), max_size=40), st.integers(1, 64))
def test_partitions_of_many_keys(ids: list[str], partitions: int) -> None:
    keys = [one.encode("utf-8", "replace") for one in ids]
    found = partitions_of(keys, partitions)
    assert found.dtype == np.int64
    assert found.tolist() == [partition_of(key, partitions) for key in keys]
    assert all(0 <= p < partitions for p in found)


@given(st.lists(st.text(max_size=20), max_size=40), st.sets(st.integers(0, 63)))
def test_those_of_some_shards_stay_in_their_order(names: list[str], shards: set[int]) -> None:
    assert of_shards(names, shards) == [name for name in names if shard_of(name) in shards]


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # From the tests of Kafka's Java client (UtilsTest.testMurmur2).
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_agrees_with_java(key: str, hashed: int) -> None:
    assert murmur2(key.encode()) == hashed & 0xFFFFFFFF
