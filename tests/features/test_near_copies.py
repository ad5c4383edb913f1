"""Copies of a post are counted exactly where the text allows it, whatever the batches."""

import random
import tracemalloc
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.events.post import Post
from feedmill.features.near_copies import (
    MAX_CLUSTERS,
    REBUILD_MS,
    WINDOW_MS,
    BucketHeads,
    Clusters,
    CopyCounts,
    HashIndex,
    PostHistory,
    PostRecord,
)
from feedmill.features.post_batch import PostBatch

TEXT = "the quick brown fox jumps over the lazy dog while seven wizards wait for the morning train"
OTHER = (
    "our neighbours planted forty tulips along the fence and nobody has picked a single one of them"
)
MINUTE_MS = 60_000


def counted(*versions: PostRecord) -> list[CopyCounts]:
    return PostHistory().fold(versions)


def at(minute: float, post: str, author: str = "al", text: str | None = TEXT) -> PostRecord:
    return PostRecord(round(minute * MINUTE_MS) + 10 * REBUILD_MS, post, author, text)


def copies(*versions: PostRecord) -> list[int]:
    return [past.copies for past in counted(*versions)]


def test_copies_and_authors_are_counted_in_order() -> None:
    counts = counted(
        at(0, "a", "al"), at(1, "b", "bo", TEXT + "!"), at(1, "x", "cy", OTHER), at(2, "c", "al")
    )
    assert [(past.copies, past.authors) for past in counts] == [(0, 1), (1, 2), (0, 1), (2, 2)]


def test_of_the_first_author_own_posts_count_apart() -> None:
    others = [at(1 + i / 100, f"o{i}", f"other{i}") for i in range(60)]
    edit, again = at(3, "a", text=TEXT + " at seven"), at(4, "b", text=TEXT + " please")
    counts = counted(at(0, "a"), *others, edit, again, at(5, "c"), at(6, "d", "other1"))
    # Sixty copies later the own posts are out of sight, and count all the same.
    assert [past.own for past in counts[61:]] == [0, 1, 2, None]
    assert all(past.copies > 20 for past in counts[61:])


def test_who_posted_first_is_known_for_two_windows() -> None:
    others = [at(minute, f"o{minute}", f"other{minute}") for minute in range(1, 30)]
    for minute, own in ((19.9, 0), (20, None)):
        before = [other for other in others if other.at_ms < at(minute, "a").at_ms]
        late = counted(at(0, "a"), *before, at(minute, "a", text=TEXT + " at seven"))[-1]
        assert (late.copies, late.own) == (
            len([o for o in before if o.at_ms > late_ms(minute)]),
            own,
        )


def late_ms(minute: float) -> int:
    return at(minute, "a").at_ms - WINDOW_MS


def test_an_edit_into_a_text_is_first_from_the_edit_on() -> None:
    copied = [at(1, f"o{i}", f"other{i}") for i in range(9)]
    into = counted(at(0, "a", "sly", OTHER), *copied, at(2, "a", "sly"), at(3, "b", "sly"))
    assert [(past.copies, past.own) for past in into[-2:]] == [(9, None), (10, None)]


def test_deleting_the_first_post_makes_no_copier_the_first() -> None:
    copied = [at(1, f"o{i}", f"other{i}") for i in range(9)]
    gone = counted(at(0, "a"), *copied, at(2, "a", text=None), at(3, "b"), at(4, "c", "other0"))
    assert [past.own for past in gone[-2:]] == [0, None]


def test_only_the_window_counts() -> None:
    assert copies(at(0, "a"), at(5, "b"), at(10, "c"), at(14, "d")) == [0, 1, 1, 2]
    assert copies(at(0, "a"), at(10.01, "b")) == [0, 0]


def test_short_texts_are_never_copies() -> None:
    assert copies(*(at(0, f"p{i}", text="good morning everybody") for i in range(20))) == [0] * 20


def test_an_edit_is_no_copy_of_its_own_post() -> None:
    counts = copies(
        at(0, "a"), at(1, "a", text=TEXT + "?"), at(2, "a", text=TEXT + "!!"), at(3, "b", "bo")
    )
    assert counts == [0, 0, 0, 1]


def test_an_edit_into_a_campaign_counts_and_one_out_of_it_does_not() -> None:
    into = copies(at(0, "a"), at(0, "b", "bo", OTHER), at(1, "b", "bo"), at(2, "c", "cy"))
    assert into == [0, 0, 1, 2]
    out_of = copies(at(0, "a"), at(0, "b", "bo"), at(1, "b", "bo", OTHER), at(2, "c", "cy"))
    assert out_of == [0, 1, 0, 1]


def test_a_deletion_takes_its_copy_out() -> None:
    assert copies(at(0, "a"), at(1, "a", text=None), at(2, "b"), at(3, "c")) == [0, 0, 0, 1]


def stream(seed: int, count: int) -> list[PostRecord]:
    """Texts of a few origins with changes, among others; edits and deletions of them."""
    drawn, minute, versions = random.Random(seed), 0.0, []
    for i in range(count):
        minute += drawn.random() * 0.4
        origin = drawn.choice((TEXT, TEXT, OTHER, " ".join(drawn.choices(TEXT.split(), k=14))))
        words = origin.split()
        words[drawn.randrange(len(words))] = drawn.choice(("often", "maybe", "42", "!!"))
        post = f"p{drawn.randrange(i + 1) if drawn.random() < 0.15 else i}"
        text = None if drawn.random() < 0.05 else " ".join(words)
        versions.append(at(minute, post, f"a{drawn.randrange(20)}", text))
    return versions


@settings(max_examples=8)
@given(st.integers(0, 1000), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_batches_make_no_difference(seed: int, sizes: list[int]) -> None:
    versions = stream(seed, 150)
    history, counts, left, cuts = PostHistory(), [], deque(versions), deque(sizes)
    while left:
        counts += history.fold([left.popleft() for _ in range(min(cuts[0], len(left)))])
        cuts.rotate()
    assert counts == counted(*versions)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_signatures_from_a_shared_batch_make_no_difference(fraction: float) -> None:
    drawn, versions = random.Random(1), stream(1, 300)
    history, counts = PostHistory(), []
    for start in range(0, len(versions), 25):
        part = versions[start : start + 25]
        known = [i for i, v in enumerate(part) if v.text is not None and drawn.random() < fraction]
        drawn.shuffle(known)
        rows = [known.index(i) if i in known else -1 for i in range(len(part))]
        posts = [Post(part[i].post_id, part[i].author_id, 1, part[i].text or "") for i in known]
        counts += history.fold(part, rows, PostBatch(posts))
    assert counts == counted(*versions)


@pytest.mark.parametrize("seed", range(3))
def test_a_history_that_starts_three_windows_earlier_gives_the_same_counts(seed: int) -> None:
    versions = stream(seed, 600)
    whole, middle = counted(*versions), 450
    since = versions[middle].at_ms - REBUILD_MS
    first = next(i for i, v in enumerate(versions) if v.at_ms >= since)
    assert first > 0
    assert counted(*versions[first:])[middle - first :] == whole[middle:]


def test_a_campaign_is_found_among_many_ordinary_posts() -> None:
    drawn = random.Random(1)
    names = [
        "".join(drawn.choices("abcdefghiklmnoprstuvwz", k=drawn.randrange(2, 9)))
        for _ in range(3000)
    ]
    versions, campaign = [], []
    for i in range(6000):
        versions.append(at(i / 1000, f"p{i}", f"a{i % 900}", " ".join(drawn.choices(names, k=20))))
        if i % 150 == 0:
            words = TEXT.split()
            words[drawn.randrange(len(words))] = drawn.choice(names)
            words[drawn.randrange(len(words))] += "!"
            campaign.append(len(versions))
            versions.append(at(i / 1000, f"c{i}", f"b{i}", " ".join(words)))
    counts = counted(*versions)
    assert all(counts[i].copies >= min(n, 30) - 2 for n, i in enumerate(campaign))
    assert max(past.copies for i, past in enumerate(counts) if i not in set(campaign)) <= 1


def test_memory_is_bounded_from_the_start() -> None:
    tracemalloc.start()
    history = PostHistory()
    made = tracemalloc.get_traced_memory()[0]
    for n in range(12):
        history.fold([at(n, f"{n}-{i}", f"a{n}-{i}", f"{TEXT} {n} {i}") for i in range(250)])
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert made < 60e6
    assert grown - made < 1e6


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


@pytest.fixture
def recent() -> set[int]:
    """The entries inside the time window; a test changes it as time goes by."""
    return set()


@pytest.fixture
def clusters(recent: set[int]) -> Clusters:
    return Clusters(recent.__contains__)


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
