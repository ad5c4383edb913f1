import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feedmill.features.history.hash_index import BucketHeads, HashIndex

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
        previous = at_once.push_apart(np.array([*buckets]), entry)
        assert previous == [one_by_one.push_one(bucket, entry) for bucket in buckets]
