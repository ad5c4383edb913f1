from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.features.near_copies import (
    MAX_CLUSTERS,
    MAX_MEMBERS,
    NO_CLUSTER,
    BucketHeads,
    Clusters,
    HashIndex,
)

# So close to the largest sequence number that every longer run wraps.
FIRST = (1 << 32) - 30
BITS, REACH, MAX_BATCH = 6, 40, 20

KEYS = st.lists(st.integers(0, 12), max_size=150)
CUTS = st.lists(st.integers(1, MAX_BATCH), min_size=1, max_size=8)


def batches(keys: list[int], cuts: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of keys, spread over all buckets, with their wrapping sequence numbers."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    start = 0
    while start < len(keys):
        size = cuts[len(parts) % len(cuts)]
        part = np.array(keys[start : start + size], dtype=np.int64) * 0x9E3779B97F4A7
        sequence = (FIRST + start + np.arange(len(part))) % (1 << 32)
        parts.append((part, sequence.astype(np.uint32)))
        start += size
    return parts


def inserted(index: HashIndex, keys: np.ndarray, sequence: np.ndarray) -> list[tuple[int, int]]:
    """Row and match of those that have one; an entry alone goes by the call for one."""
    if len(keys) == 1:
        match = index.insert_one(int(keys[0]), int(sequence[0]))
        return [] if match is None else [(0, match)]
    rows, entries = index.insert(keys, sequence)
    return list(zip(rows.tolist(), entries.tolist(), strict=True))


@given(KEYS, CUTS)
def test_an_entry_finds_the_newest_earlier_one_of_its_key_within_reach(
    keys: list[int], cuts: list[int]
) -> None:
    index, matches, start = HashIndex(BITS, REACH, FIRST), {}, 0
    for part, sequence in batches(keys, cuts):
        for row, entry in inserted(index, part, sequence):
            matches[start + row] = (entry - FIRST) % (1 << 32)
        start += len(part)
    expected = {}
    for i, key in enumerate(keys):
        same = [j for j in range(max(0, i - REACH), i) if keys[j] == key]
        if same:
            expected[i] = same[-1]
    assert matches == expected


@given(st.lists(st.integers(0, 5), max_size=120), st.integers(1, 60))
def test_a_push_returns_what_was_the_newest_of_the_bucket(buckets: list[int], size: int) -> None:
    heads = BucketHeads(6, FIRST)
    newest: dict[int, int] = {}
    for start in range(0, len(buckets), size):
        part = buckets[start : start + size]
        sequence = ((FIRST + start + np.arange(len(part))) % (1 << 32)).astype(np.uint32)
        previous = heads.push(np.array(part, dtype=np.int64), sequence)
        for bucket, entry, before in zip(part, sequence.tolist(), previous.tolist(), strict=True):
            if bucket in newest:
                assert before == newest[bucket]
            else:
                assert (entry - before - 1) % (1 << 32) > REACH
            newest[bucket] = entry


@given(st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=6), min_size=1, max_size=40))
def test_buckets_that_differ_are_pushed_at_once_as_one_by_one(pushes: list[set[int]]) -> None:
    at_once, one_by_one = BucketHeads(41, FIRST), BucketHeads(41, FIRST)
    for n, buckets in enumerate(pushes):
        entry = (FIRST + n) % (1 << 32)
        previous = at_once.push_one(np.array([*buckets]), entry)
        assert previous == [*chain(*[one_by_one.push_one([one], entry) for one in buckets])]


@pytest.fixture
def recent() -> set[int]:
    """The entries inside the time window; a test changes it as time goes by."""
    return set()


@pytest.fixture
def clusters(recent: set[int]) -> Clusters:
    return Clusters(recent.__contains__)


def test_a_cluster_keeps_its_members_in_order(clusters: Clusters) -> None:
    cluster = clusters.create([3, 7])
    clusters.add(cluster, 9)
    assert clusters.members(cluster) == [3, 7, 9]
    assert cluster in clusters
    assert cluster + 1 not in clusters
    assert NO_CLUSTER not in clusters


def test_a_full_cluster_drops_its_oldest_member(clusters: Clusters) -> None:
    cluster = clusters.create(range(MAX_MEMBERS + 2))
    assert clusters.members(cluster) == list(range(2, MAX_MEMBERS + 2))
    clusters.add(cluster, 100)
    assert clusters.members(cluster) == [*range(3, MAX_MEMBERS + 2), 100]


def test_a_new_cluster_replaces_the_oldest_one_without_recent_members(
    clusters: Clusters, recent: set[int]
) -> None:
    numbers = [clusters.create([entry]) for entry in range(MAX_CLUSTERS)]
    recent.update((0, 1, 3))
    replacing = clusters.create([MAX_CLUSTERS])
    assert [number in clusters for number in numbers[:5]] == [True, True, False, True, True]
    assert clusters.members(replacing) == [MAX_CLUSTERS]
    assert clusters.members(numbers[3]) == [3]


def test_a_new_cluster_replaces_a_recent_one_if_there_is_no_other(
    clusters: Clusters, recent: set[int]
) -> None:
    for entry in range(MAX_CLUSTERS):
        clusters.create([entry])
    recent.update(range(MAX_CLUSTERS))
    newest = clusters.create([MAX_CLUSTERS])
    assert newest in clusters
    assert sum(number in clusters for number in range(MAX_CLUSTERS)) == MAX_CLUSTERS - 1
