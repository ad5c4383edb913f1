"""The view: which signal of a post stays, which wait, and rows and numbers that serve again.

`test_combiner_oracle` has the view with all that follows from it, over drawn records.
"""

import gc
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from builders.events import NOW_MS, post, signal
from feedmill.events.override import Override, OverrideKey
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner import signal_columns
from feedmill.rankers.combiner import view as view_module
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.view import POST_CHANGED, EarlySignals, PostView

NAMES = SignalNames.parse("extreme:gate,novelty:objective")


def row_of(view: PostView, post_id: str) -> int:
    row = view.row_of(post_id)
    assert row is not None
    return row


def take_all(view: PostView) -> dict[int, int]:
    """What changed, by row; freed rows are recycled."""
    rows, masks = view.changed.take()
    view.recycle(rows[view.freed_among(rows)])
    return dict(zip(rows.tolist(), masks.tolist(), strict=True))


def test_beyond_the_bound_of_early_signals_of_programs_their_posts_are_forgotten_too() -> None:
    view = PostView(NAMES, most_early=10)
    for i in range(40):
        view.update_signal("novelty", signal(f"p{i}", 5, 0.1))
    assert (len(view), len(view.early), view.early.dropped) == (10, 10, 30)
    take_all(view)
    view.update_posts([post(f"p{i}") for i in range(40)], [5] * 40, [NOW_MS] * 40)
    have = [p for p in (f"p{i}" for i in range(40)) if view.signal(row_of(view, p), "novelty")]
    assert have == [f"p{i}" for i in range(30, 40)]
    assert (len(view), len(view.early)) == (40, 0)


def test_a_signal_after_one_that_dropped_its_own_row_waits_in_another() -> None:
    view = PostView(NAMES, most_early=1)
    written = [(name, "p", signal("p", 5, 0.1)) for name in ("extreme", "novelty", "quality")]
    view.update_written(written)
    assert (len(view), len(view.early), row_of(view, "p") in view.early.rows) == (1, 1, True)
    take_all(view)
    view.update_post(post("p"), 5, NOW_MS)
    stored = {name: view.signal(row_of(view, "p"), name) for name in NAMES.all}
    assert [name for name, one in stored.items() if one] == ["quality"]


def test_a_dropped_signal_of_a_coming_version_leaves_the_post() -> None:
    view = PostView(NAMES, most_early=1)
    view.update_post(post("p"), 5, NOW_MS)
    view.update_signal("novelty", signal("p", 6, 0.1))
    view.update_signal("novelty", signal("q", 6, 0.1))
    assert [view.ids[row] for row in view.live_rows().tolist()] == ["p"]


def test_signals_of_workers_wait_until_their_version_came_or_was_passed() -> None:
    """However many: whoever reads them takes no more meanwhile."""
    view, partitions, ids = PostView(NAMES, most_early=3), 2, [f"p{i}" for i in range(30)]
    for post_id in ids:
        view.update_signal("spam", signal(post_id, 5, 0.1))
        view.update_signal("spam", signal(post_id, 8, 0.2))
    assert (len(view.early), view.early.is_full, view.early.dropped) == (60, True, 0)
    # Of one partition all posts up to 7 are known, of the other none.
    gone = {post_id for post_id in ids if partition_of(post_id.encode(), partitions)}
    for _ in range(3):
        view.drop_passed([0, 7], 10)
    assert len(view.early) == 60 - len(gone)
    view.drop_passed([0, 9], 30)
    assert (len(view.early), len(view)) == (60 - 2 * len(gone), 30 - len(gone))
    take_all(view)
    view.update_posts([post(post_id) for post_id in ids], [5] * 30, [NOW_MS] * 30)
    have = {post_id for post_id in ids if view.signal(row_of(view, post_id), "spam")}
    assert have == set(ids) - gone


def test_what_may_hide_goes_before_values_however_many_and_all_else_in_its_order() -> None:
    """A post that a moderator hides, or a deletion, in a storm of engagements."""
    view, count = PostView(NAMES), 1_000
    ids = [f"p{i}" for i in range(count)]
    posts = [post(p, author_id="loud" if p == "p600" else "ann") for p in ids]
    view.update_posts(posts, range(count), [NOW_MS] * count)
    take_all(view)

    def engage(revision: int) -> None:
        signals = [signal(one, n, 0.2, revision=revision) for n, one in enumerate(ids)]
        view.update_signals("engagement", signals)

    engage(1)
    hide = Override(verdict="hide", by="mod", reason="r", at_ms=NOW_MS)
    view.update_override(OverrideKey("post", "p700", "*"), hide)
    view.update_signal("spam", signal("p800", 800, 0.9))
    view.update_post(Deletion("p900", True), count, NOW_MS)
    view.update_override(OverrideKey("author", "loud", "*"), hide)
    engage(2)
    # Posts of authors are searched for at once, too.
    assert view.find_overridden(512)
    rows, masks = view.changed.take(5)
    assert [view.ids[row] for row in rows[[0, 1, 3]].tolist()] == ["p700", "p800", "p600"]
    assert view.freed_among(rows).tolist() == [False, False, True, False, False]
    value = view.bits["engagement"]
    assert masks.tolist()[:2] == [POST_CHANGED | value, view.bits["spam"] | value]
    view.recycle(rows[view.freed_among(rows)])
    rest = [view.ids[row] for row in view.changed.take()[0].tolist()]
    assert rest == [p for p in ids[1:] if p not in ("p600", "p700", "p800", "p900")]
    assert not view.has_changes


def test_rows_are_taken_once_in_the_order_of_their_changes_with_all_that_changed() -> None:
    view = PostView(NAMES)
    for post_id in ("a", "b", "c"):
        view.update_post(post(post_id), 1, NOW_MS)
    view.update_signal("spam", signal("a", 1, 0.1))
    view.touch([row_of(view, "c")])
    rows, masks = view.changed.take(2)
    assert [view.ids[row] for row in rows.tolist()] == ["a", "b"]
    assert masks.tolist() == [POST_CHANGED | view.bits["spam"], POST_CHANGED]
    view.update_signal(NAMES.all[-1], signal("a", 1, 0.1))
    last = {row_of(view, "c"): POST_CHANGED, row_of(view, "a"): view.bits[NAMES.all[-1]]}
    assert take_all(view) == last
    assert not view.has_changes


def rows_by_slices(view: PostView, cutoff_ms: int, most: int) -> list[Sequence[int]]:
    found: list[Sequence[int]] = []
    while not found or view.has_expired:
        rows = view.expired(cutoff_ms, most)
        view.free(rows)
        found.append(rows.tolist())
    return found


def test_old_posts_are_found_and_freed_in_slices() -> None:
    view = PostView(NAMES)
    for i in range(100):
        view.update_post(post(f"p{i}", created_at_ms=NOW_MS - i), 1, NOW_MS)
    view.update_signal("spam", signal("waits", 9, 0.1, at_ms=NOW_MS - 70))
    slices = rows_by_slices(view, NOW_MS - 49, 20)
    assert [len(rows) for rows in slices] == [20, 20, 11]
    assert len({row for rows in slices for row in rows}) == 51
    assert len(view) == 50
    assert view.row_of("waits") is None
    assert view.expired(NOW_MS - 49).tolist() == []
    changed = take_all(view)
    assert len(changed) == 101
    assert view.expired(NOW_MS - 49).tolist() == []  # nor are free rows old


def test_old_posts_are_found_wherever_they_are_some_rows_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view_module, "_SEARCHED_AT_ONCE", 1_000)
    view, random = PostView(NAMES), np.random.default_rng(4)
    ages = random.integers(0, 100, 9_000).tolist()
    for i, age in enumerate(ages):
        view.update_post(post(f"p{i}", created_at_ms=NOW_MS - age), 1, NOW_MS)
    before = len(view)
    for cutoff in (95, 60, 60, 0):
        slices = rows_by_slices(view, NOW_MS - cutoff, 256)
        # Two chunks of 8,192 rows: at least a call for each thousand.
        assert len(slices) > 16
        assert max(map(len, slices)) <= 256
        kept = sum(age <= cutoff for age in ages)
        assert before - sum(map(len, slices)) == len(view) == kept
        before = kept
        take_all(view)


def test_a_post_that_is_young_again_or_gone_since_the_look_is_not_among_the_old() -> None:
    view = PostView(NAMES)
    for name in "abcd":
        view.update_post(post(name, created_at_ms=NOW_MS - 9), 1, NOW_MS)
    first = view.expired(NOW_MS, 1).tolist()
    view.update_post(post("b", created_at_ms=NOW_MS), 2, NOW_MS)
    view.update_post(Deletion("c", deleted=True), 2, NOW_MS)
    assert (first, view.expired(NOW_MS, 9).tolist()) == ([row_of(view, "a")], [row_of(view, "d")])


def test_a_row_freed_waits_for_its_recycling() -> None:
    view = PostView(NAMES)
    view.update_post(post("p"), 1, NOW_MS)
    view.changed.take()
    row = row_of(view, "p")
    view.free([row])
    assert (view.row_of("p"), view.ids[row]) == (None, "p")
    view.update_post(post("p"), 2, NOW_MS)
    other = row_of(view, "p")
    assert other != row
    assert take_all(view) == {row: POST_CHANGED, other: POST_CHANGED}
    assert view.ids[row] == ""
    view.update_post(post("q"), 2, NOW_MS)
    assert row_of(view, "q") == row


def test_pruning_goes_in_slices_while_posts_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "_PRUNED_AT_ONCE", 100)
    view = PostView(NAMES)
    for i in range(3000):
        one = post(f"p{i}", author_id=f"u{i}", created_at_ms=NOW_MS + i, lang=f"l{i % 40}")
        view.update_post(one, 1, NOW_MS + 3000)
    assert view.pruning.go_on() == []  # all are in use
    while view.pruning.is_running:
        assert view.pruning.go_on() == []
    view.update_posts(
        [post(f"q{i}", author_id=f"w{i}", lang=f"m{i}") for i in range(4000)],
        [1] * 4000,
        [NOW_MS] * 4000,
    )
    view.free(view.expired(NOW_MS + 2900))
    take_all(view)
    forgotten, calls = view.pruning.go_on(), 1
    assert view.pruning.is_running
    number = view.authors.find("u2000")
    assert number is not None
    view.update_post(post("late", author_id="u2000", lang="m3500"), 1, NOW_MS)
    while view.pruning.is_running:
        some = view.pruning.go_on()
        assert len(some) <= 100
        forgotten += some
        calls += 1
    assert calls > 60
    assert view.author_of(row_of(view, "late")) == "u2000"
    assert view.authors.find("u2000") == number
    assert len(view.authors) == 101
    assert {view.author_of(row) for row in view.live_rows().tolist()} == {
        *(f"u{i}" for i in range(2900, 3000)),
        "u2000",
    }
    kept = {group.lang for group in view.groups.values if group is not None}
    assert kept == {"m3500", *(f"l{i % 40}" for i in range(2900, 3000))}
    assert all(view.groups.values[number] is None for number in forgotten)
    assert len(set(forgotten)) == len(forgotten) == 3999


def test_more_models_than_the_table_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_columns, "_MODEL", 7)  # six models, and one state for the others
    monkeypatch.setattr(signal_columns, "_CURRENT", 8)
    view, count = PostView(NAMES), 40
    ids = [f"p{i}" for i in range(count)]
    view.update_posts([post(one) for one in ids], [1] * count, [NOW_MS] * count)
    for turn in range(3):
        signals = [signal(p, 1, 0.5, version=str((i * 7 + turn) % 20)) for i, p in enumerate(ids)]
        for one in signals:
            view.update_signal("spam", one)
        assert len(view.models) == 6
        for one in signals:
            stored = stored_signal(view, one.post_id, "spam")
            assert (stored.model, stored.version) == ("m", one.version)
    view.free(list(range(count)))
    assert view.signals["spam"]._far_models == {}


def stored_signal(view: PostView, post_id: str, name: str) -> StoredSignal:
    stored = view.signal(row_of(view, post_id), name)
    assert stored is not None
    return stored


def test_a_column_that_nobody_writes_is_never_touched() -> None:
    view = PostView(NAMES)
    for i in range(10_000):
        view.update_post(post(f"p{i}"), 1, NOW_MS)
        view.update_signal("spam", signal(f"p{i}", 1, 0.1))
    view.update_post(post("p0", text="edited"), 2, NOW_MS)
    view.clear_signal("report", "p0")
    view.free(view.expired(NOW_MS + 1, 5_000))
    assert [*view.written] == ["spam"]
    view.update_signal("report", signal("p9999", 1, 0.2))
    view.update_signal("reply", signal("p9999", 1, 0.3))
    assert [*view.written] == ["spam", "reply", "report"]


def test_each_version_keeps_its_last_signal_and_beside_a_failure_the_last_good_one() -> None:
    early = EarlySignals(10)
    for offset, value in ((1, 0.1), (1, 0.2), (2, 0.3), (2, None), (3, None), (3, 0.4)):
        early.add(7, "spam", signal("p", offset, value))
    assert len(early) == 4
    taken = early.take(7)["spam"]
    assert [(one.post_offset, one.value) for one in taken] == [
        (1, 0.2),
        (2, 0.3),
        (2, None),
        (3, 0.4),
    ]
    assert (len(early), 7 in early.rows, early.take(7)) == (0, False, {})


def test_a_row_whose_own_signals_went_otherwise_is_not_the_one_that_waited_longest() -> None:
    early = EarlySignals(2, own=["novelty"])
    for row in (1, 2, 3):
        early.add(row, "novelty", signal("p", 5, 0.1))
        if row == 1:
            early.take(1)
    early.discard(2, "novelty")
    assert early.drop_longest() is None
    for row in (4, 5):
        early.add(row, "novelty", signal("p", 5, 0.1))
    assert early.drop_longest() == 3
    assert (early.dropped, len(early)) == (1, 2)


def test_the_collector_looks_once_at_signals_that_wait() -> None:
    """A hundred thousand of them, each time, took it 20 ms and more."""
    early = EarlySignals(10)
    for offset in (1, 2):
        early.add(7, "spam", signal("p", offset, 0.1))
        early.add(7, "nsfw", signal("p", offset, 0.1))
    gc.collect()
    for waiting in early.take(7).values():
        assert not any(map(gc.is_tracked, (waiting, *waiting)))


PostRecord = tuple[Post | Deletion, int, int]
Written = tuple[str, str, Signal | None]


class Draw:
    """Records about few posts: offsets rise, but for some that come late."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ids = [f"{self.random.choice(('p', 'é', 'post-'))}{i}" for i in range(150)]
        self.at_ms = NOW_MS

    def offset(self) -> int:
        return self.random.randrange(12)

    def posts(self) -> list[PostRecord]:
        return [self.post() for _ in range(self.random.choice((1, 5, 60, 300)))]

    def post(self) -> PostRecord:
        random = self.random
        post_id = random.choice(self.ids)
        self.at_ms += 1
        if random.random() < 0.15:
            return Deletion(post_id, deleted=True), self.offset(), self.at_ms
        author = f"u{random.randrange(40)}"
        created_ms = self.at_ms + random.randrange(-9, 9)
        return post(post_id, author_id=author, created_at_ms=created_ms), self.offset(), self.at_ms

    def written(self) -> list[Written]:
        return [self.signal() for _ in range(self.random.choice((1, 5, 60, 300)))]

    def signal(self) -> Written:
        random = self.random
        name, post_id = random.choice(("extreme", "novelty")), random.choice(self.ids)
        self.at_ms += 1
        if random.random() < 0.05:
            return name, post_id, None
        value = None if random.random() < 0.1 else random.randrange(64) / 64
        made = signal(
            post_id,
            self.offset(),
            value,
            version=f"v{random.randrange(3)}",
            at_ms=self.at_ms,
            revision=random.choice((0, 0, 1, 2)),
        )
        return name, post_id, made


def stored_in(view: PostView) -> dict[tuple[str, str], StoredSignal]:
    rows = {view.ids[row]: row for row in view.live_rows().tolist()}
    found = {(one, name): view.signal(rows[one], name) for one in rows for name in NAMES.all}
    return {at: one for at, one in found.items() if one is not None}


def posts_in(view: PostView) -> dict[str, tuple[int, int, int, str]]:
    columns = view.post
    return {
        view.ids[row]: (
            columns.offset.item(row),
            columns.created_ms.item(row),
            columns.arrived_ms.item(row),
            view.author_of(row),
        )
        for row in view.live_rows().tolist()
    }


def waiting_in(view: PostView) -> dict[tuple[str, str], list[Signal]]:
    early = view.early._by_row
    return {
        (view.ids[row], name): [*some] for row, of in early.items() for name, some in of.items()
    }


def changed_in(view: PostView) -> dict[str, int]:
    """What changed of posts that are there."""
    rows, masks = view.changed.take()
    live = {*view.live_rows().tolist()}
    found = {
        view.ids[row]: mask
        for row, mask in zip(rows.tolist(), masks.tolist(), strict=True)
        if row in live
    }
    view.recycle(rows[view.freed_among(rows)])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_a_batch_drops_are_not_used_by_its_later_records(seed: int) -> None:
    """Too many signals of programs wait, so that each further one drops others with their rows."""
    draw, batches, singly = Draw(seed), PostView(NAMES, 4), PostView(NAMES, 4)
    for _ in range(40):
        records, written = draw.posts(), draw.written()
        batches.update_posts(*map(list, zip(*records, strict=True)))
        batches.update_written(written)
        for post_record in records:
            singly.update_post(*post_record)
        for one in written:
            singly.update_written([one])
        assert posts_in(batches) == posts_in(singly)
        assert stored_in(batches) == stored_in(singly)
        assert waiting_in(batches) == waiting_in(singly)
        assert changed_in(batches) == changed_in(singly)
    assert batches.early.dropped == singly.early.dropped > 100
