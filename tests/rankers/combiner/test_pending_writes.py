"""`PendingWrites`: nothing is lost, nothing is handed out twice, what changed goes first."""

from random import Random

import numpy as np
import numpy.typing as npt
import pytest

from feedmill.events.partition import ALL_SHARDS, SHARDS, shard_of
from feedmill.rankers.combiner import pending_writes
from feedmill.rankers.combiner.pending_writes import PendingWrites
from feedmill.tables.id_table import IdTable

NONE = 1000
NO_ROWS = np.empty(0, np.int32)
POSTS = IdTable()
for number in range(50_000):
    POSTS.add(f"p{number}")


def rows_of(*rows: int) -> npt.NDArray[np.int32]:
    return np.array(rows, np.int32)


def marked(
    pending: PendingWrites, *rows: int, mask: int = 1, whole: bool = False, waits: bool = False
) -> None:
    masks, *flags = (np.full(len(rows), given) for given in (mask, whole, waits))
    pending.mark(rows_of(*rows), masks, *flags)


def mark_later(
    pending: PendingWrites, is_marked: npt.NDArray[np.bool_], mask: int | None = None
) -> None:
    """Mark in two steps."""
    middle, end = len(is_marked) // 2, len(is_marked)
    parts = ((part, is_marked[part]) for part in (slice(0, middle), slice(middle, end)))
    for _ in pending.mark_later(parts, mask):
        assert pending.is_sweeping


@pytest.fixture(params=[6, 12, 63])
def pending(request: pytest.FixtureRequest) -> PendingWrites:
    writes = PendingWrites(request.param, POSTS)
    writes.grow(50_000)
    # Each of the posts changed once.
    writes.mark_whole(np.arange(50_000, dtype=np.int32))
    writes.take_rows(50_000)
    return writes


def test_changes_of_a_row_are_merged_and_taken_once(pending: PendingWrites) -> None:
    marked(pending, 7, mask=1)
    marked(pending, 3, mask=2, whole=True)
    marked(pending, 7, mask=4)
    assert pending.take_rows(1) == [(7, 5, False)]
    marked(pending, 3, mask=4)  # what is written whole keeps its mask
    marked(pending, 7, mask=2)  # it changed after it was taken
    assert pending.take_rows(NONE) == [(3, 6, True), (7, 2, False)]
    assert pending.take_rows(NONE) == []
    assert not pending.has_posts


def test_rows_that_wait_are_held_back_until_they_do_not(pending: PendingWrites) -> None:
    pending.hold_back(True)
    marked(pending, 7, 8, 6, whole=True, waits=True)
    assert not pending.has_posts
    marked(pending, 9, waits=True)  # Redis has an older verdict of it
    assert pending.take_rows(NONE) == [(9, 1, False)]
    marked(pending, 8, mask=2, waits=True)
    marked(pending, 7, mask=2)
    assert pending.take_rows(NONE) == [(7, 3, True)]
    marked(pending, 5)
    pending.hold_back(False)
    marked(pending, 4, whole=True, waits=True)
    assert [row for row, _, _ in pending.take_rows(NONE)] == [5, 8, 6, 4]
    assert not pending.has_posts
    # As if it had never been held back.
    pending.hold_back(True)
    marked(pending, 8, 7)
    marked(pending, 6, mask=2, whole=True, waits=True)
    assert pending.take_rows(NONE) == [(8, 1, False), (7, 1, False)]
    marked(pending, 6)
    assert pending.take_rows(NONE) == [(6, 3, True)]


def test_many_rows_come_after_what_just_changed_and_wait_for_feeds(pending: PendingWrites) -> None:
    is_marked = np.zeros(50_000, bool)
    is_marked[[5, 20_000, 49_999]] = True
    mark_later(pending, is_marked)
    marked(pending, 30_000)
    assert pending.is_sweeping
    assert [row for row, _, _ in pending.take_rows(2)] == [30_000, 5]
    marked(pending, 9)
    pending.mark_feed("global")
    assert pending.take_rows(NONE) == [(9, 1, False)]
    assert pending.has_posts
    del pending.feeds["global"]
    assert pending.take_rows(NONE) == [(20_000, 0, True), (49_999, 0, True)]
    assert not pending.is_sweeping


def test_where_all_is_written_again_nothing_goes_before_the_feeds(pending: PendingWrites) -> None:
    marked(pending, 9)
    pending.drop_queue()
    mark_later(pending, np.arange(50_000) == 9)
    pending.mark_feed("global")
    assert pending.take_rows(NONE) == []
    del pending.feeds["global"]
    assert pending.take_rows(NONE) == [(9, 1, True)]


def test_a_second_sweep_begins_anew(pending: PendingWrites) -> None:
    mark_later(pending, np.arange(50_000) < 3, 1)
    assert [row for row, _, _ in pending.take_rows(2)] == [0, 1]
    mark_later(pending, np.arange(50_000) < 2, 2)
    assert pending.take_rows(NONE) == [(0, 2, False), (1, 2, False), (2, 1, False)]


def test_very_many_changes_are_found_by_going_over_all(
    pending: PendingWrites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_writes, "_MAX_QUEUED", 4)
    for row in (9, 8, 7, 6, 5, 4):
        marked(pending, row)
    assert sorted(row for row, _, _ in pending.take_rows(NONE)) == [4, 5, 6, 7, 8, 9]


def test_removed_posts_are_not_written_and_are_removed_again_unless_redis_drops_them(
    pending: PendingWrites, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked(pending, 7, 8)
    pending.remove(rows_of(7, 8), {"p": 100, "old": 40}, 50)
    assert pending.take_rows(NONE) == []
    assert pending.take_removed() == ["p", "old"]
    assert pending.take_removed() == []
    pending.remove_again()
    assert pending.take_removed() == ["p"]
    monkeypatch.setattr(pending_writes, "MAX_TOMBSTONES", SHARDS)
    ids = [f"p{number}" for number in range(1_000)]
    for post_id in ids:
        pending.remove(NO_ROWS, {post_id: 100}, 50)
    pending.remove_again()
    # Of each shard the last.
    last = {shard_of(post_id): post_id for post_id in [*ids, "p"]}
    last[shard_of("p")] = max((p for p in ids if shard_of(p) == shard_of("p")), key=ids.index)
    assert sorted(pending.take_removed()) == sorted(last.values())


def test_removed_posts_of_shards_that_come_and_go_are_those_of_the_newest_owner(
    pending: PendingWrites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn removals and shards: what is taken is what Redis may have of the own shards."""
    monkeypatch.setattr(pending_writes, "_MOST_REMOVED", 7)
    random = Random(3)
    own, removed, tombstones = set(ALL_SHARDS), set[str](), dict[str, int]()
    for now_ms in range(400):
        post_id, end_ms = f"p{random.randrange(150)}", now_ms + random.choice((-1, 1_000))
        pending.remove(NO_ROWS, {post_id: end_ms}, now_ms)
        tombstones.pop(post_id, None)
        if end_ms > now_ms:
            tombstones[post_id] = end_ms
        if shard_of(post_id) in own:
            removed.add(post_id)
        if random.random() < 0.2:
            before, own = own, {shard for shard in ALL_SHARDS if random.random() < 0.5}
            pending.own(frozenset(own))
            removed |= {p for p in tombstones if shard_of(p) in own - before}
            removed = {p for p in removed if shard_of(p) in own}
            taken = set[str]()
            while pending.has_posts:
                some = pending.take_removed()
                assert len(some) <= 7
                taken |= set(some)
            assert taken == removed
            removed.clear()


def test_a_feed_that_is_made_again_is_not_removed(pending: PendingWrites) -> None:
    pending.remove_feed("b")
    pending.remove_feed("a")
    pending.mark_feed("b")
    assert pending.take_removed_feeds() == ["a"]
    assert pending.take_removed_feeds() == []
    pending.remove_feed("b")
    assert (list(pending.feeds), pending.removed_feeds) == ([], {"b"})


def test_rows_that_are_asked_for_are_taken_before_their_turn_and_once(
    pending: PendingWrites,
) -> None:
    marked(pending, 7, mask=1)
    marked(pending, 3, 5, mask=2, whole=True)
    assert pending.take_among(rows_of(5, -1, 4, 7)) == [(5, 2, True), (7, 1, False)]
    marked(pending, 7, mask=4)
    assert pending.has_posts
    assert pending.take_among(rows_of(3, 7)) == [(3, 2, True), (7, 4, False)]
    assert not pending.has_posts
    assert pending.take_rows(NONE) == []


def test_only_what_is_of_its_shards_is_to_be_written(pending: PendingWrites) -> None:
    mine = frozenset(shard for shard in ALL_SHARDS if shard % 3 == 0)
    rows = range(0, 300)
    owned = [row for row in rows if shard_of(f"p{row}") in mine]
    other = next(row for row in rows if row not in owned)
    marked(pending, *rows)
    pending.mark_feed("global")
    pending.mark_feed("lang:en")
    pending.remove(rows_of(other), {f"p{other}": 100}, 50)
    # What waited of shards that go is forgotten; a removal is remembered.
    pending.own(mine)
    assert set(pending.feeds) == {f for f in ("global", "lang:en") if shard_of(f) in mine}
    assert pending.take_removed() == []
    pending.feeds.clear()
    assert [row for row, _, _ in pending.take_rows(NONE)] == owned
    assert not pending.has_posts
    # Nor does it wait when it changes from then on.
    marked(pending, *(row for row in rows if row not in owned))
    for _ in pending.mark_later([(slice(0, 300), np.arange(300) != other)]):
        pass
    assert [row for row, _, _ in pending.take_rows(NONE)] == owned
    assert not pending.has_posts
    pending.own(ALL_SHARDS)
    assert pending.take_removed() == [f"p{other}"]


def test_of_many_rows_whose_shards_were_lost_some_are_passed_at_a_time(
    pending: PendingWrites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_writes, "_SWEEP_ROWS", 50)
    rows = np.arange(1000, dtype=np.int32)
    pending.mark_whole(rows)
    pending.own(frozenset())
    calls = 0
    while pending.has_posts:
        before = np.count_nonzero(pending._masks.values)
        assert pending.take_rows(96) == []
        assert np.count_nonzero(pending._masks.values) >= before - 50
        calls += 1
    assert calls == 1000 // 50
    # What is taken is not counted.
    pending.own(ALL_SHARDS)
    pending.mark_whole(rows)
    assert len(pending.take_rows(96)) == 96
