"""Overrides by author cost their own posts something, and the others nothing."""

from typing import Any

import numpy as np
import pytest

from builders.events import NOW_MS, override, post, signal
from feedmill.events.override import OverrideKey
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner, gate_decisions, overrides
from feedmill.rankers.combiner.gate_decisions import HIDE, SHOW
from feedmill.rankers.combiner.view import PostView

NAMES = SignalNames()
POSTS, OF_AUTHOR = 4000, 4


def filled(posts: int = POSTS) -> Combiner:
    """A combiner of shown posts, each author with four."""
    combiner = Combiner(NAMES)
    for i in range(posts):
        add(combiner.view, f"p{i}", f"u{i // OF_AUTHOR}")
    combiner.cycle(NOW_MS)
    return combiner


def add(view: PostView, post_id: str, author: str) -> None:
    view.update_post(post(post_id, author_id=author), 1, NOW_MS)
    for name in NAMES.gates:
        view.update_signal(name, signal(post_id, 1, 0.1))


def hide(view: PostView, author: int, **more: Any) -> None:
    view.update_override(OverrideKey("author", f"u{author}", "*"), override("hide", **more))


def hidden(combiner: Combiner) -> set[str]:
    code = combiner._default.code.values
    return {combiner.view.ids[row] for row in np.flatnonzero(code == HIDE).tolist()}


def of_authors(*authors: int) -> set[str]:
    return {f"p{OF_AUTHOR * author + i}" for author in authors for i in range(OF_AUTHOR)}


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that were decided by themselves, each as often as it was."""
    rows: list[int] = []
    decide_row = gate_decisions.decide_row

    def counted(view: PostView, row: int, *rest: Any) -> Any:
        rows.append(row)
        return decide_row(view, row, *rest)

    monkeypatch.setattr(gate_decisions, "decide_row", counted)
    return rows


def test_many_overrides_of_authors_are_one_search(
    monkeypatch: pytest.MonkeyPatch, decided: list[int]
) -> None:
    combiner, slices = filled(), []
    monkeypatch.setattr(overrides, "_SLICE_ROWS", 1000)
    find_some = combiner.view.overridden.find_some

    def counted(authors: Any, most: int) -> Any:
        slices.append(len(authors))
        return find_some(authors, most)

    monkeypatch.setattr(combiner.view.overridden, "find_some", counted)
    for author in range(500):
        hide(combiner.view, author)
    combiner.cycle(NOW_MS)
    assert hidden(combiner) == of_authors(*range(500))
    assert len(slices) <= -(-combiner.view.capacity // 1000) + 2000 // 256 + 1
    # To rank it, and to write it; the other half of the posts has no part in it.
    assert len(decided) <= 2 * 500 * OF_AUTHOR


def test_with_some_override_all_other_posts_are_decided_together(decided: list[int]) -> None:
    combiner = filled()
    hide(combiner.view, 7)
    combiner.cycle(NOW_MS)
    decided.clear()
    combiner.view.touch(combiner.view.live_rows())
    combiner.cycle(NOW_MS)
    assert {combiner.view.ids[row] for row in decided} == of_authors(7)
    assert hidden(combiner) == of_authors(7)


def test_a_search_stops_when_there_is_no_time_and_misses_no_post(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    combiner = filled(400)
    monkeypatch.setattr(overrides, "_SLICE_ROWS", 100)
    view = combiner.view
    hide(view, 3)
    assert combiner.rank_changes(NOW_MS, lambda: False)
    # Both come while the search is on: they belong to the next one.
    view.update_post(post("late", author_id="u3"), 1, NOW_MS)
    view.update_post(post("new", author_id="unknown"), 1, NOW_MS)
    hide(view, 50)
    while combiner.rank_changes(NOW_MS, lambda: False):
        pass
    assert hidden(combiner) == of_authors(3, 50) | {"late"}


def test_a_new_post_does_not_wait_for_all_posts_of_overridden_authors() -> None:
    combiner = filled()
    for author in range(1000):
        hide(combiner.view, author)
    combiner.rank_changes(NOW_MS, lambda: False)
    add(combiner.view, "new", "newcomer")
    for _ in range(4):
        assert combiner.rank_changes(NOW_MS, lambda: False)
    row = combiner.view.row_of("new")
    assert row is not None
    assert combiner._default.code.values[row] == SHOW
    assert len(hidden(combiner)) < POSTS / 2
    combiner.cycle(NOW_MS)
    assert len(hidden(combiner)) == POSTS


def test_an_override_of_an_author_without_posts_waits_for_the_first() -> None:
    combiner = filled(40)
    hide(combiner.view, 77)
    combiner.cycle(NOW_MS)
    for count in (1, 60):
        for i in range(count):
            combiner.view.update_posts([post(f"q{count}.{i}", author_id="u77")], [1], [NOW_MS])
        combiner.view.update_posts(
            [post(f"r{count}.{i}", author_id="u77") for i in range(count)],
            [1] * count,
            [NOW_MS] * count,
        )
    combiner.cycle(NOW_MS)
    assert len(hidden(combiner)) == 122


def test_rows_and_authors_used_again_are_not_overridden() -> None:
    combiner = filled(8)
    view = combiner.view
    hide(view, 0)
    view.update_override(OverrideKey("post", "p7", "*"), override("hide"))
    combiner.cycle(NOW_MS)
    assert hidden(combiner) == {*of_authors(0), "p7"}
    for i in range(8):
        view.update_post(Deletion(f"p{i}", deleted=True), 2, NOW_MS)
    combiner.cycle(NOW_MS)
    for i in range(8):
        view.update_post(post(f"n{i}", author_id="other"), 1, NOW_MS)
    combiner.cycle(NOW_MS)
    assert hidden(combiner) == set()
    assert not any(view.is_overridden(row) for row in view.live_rows().tolist())


def test_what_ran_out_is_found_without_looking_at_the_rest() -> None:
    combiner = filled()
    table = combiner.view.overrides
    for author in range(900):
        hide(combiner.view, author, expires_at_ms=NOW_MS + 1000 + author)
    combiner.cycle(NOW_MS)
    assert len(hidden(combiner)) == 900 * OF_AUTHOR
    assert list(table.take_expired(NOW_MS + 999)) == []
    combiner.tick(NOW_MS + 1002)
    combiner.cycle(NOW_MS + 1002)
    assert len(hidden(combiner)) == 897 * OF_AUTHOR
    assert len(table._ends) == 897


def test_after_a_step_back_of_the_clock_what_had_run_out_is_in_force_again() -> None:
    combiner = filled()
    hide(combiner.view, 0, expires_at_ms=NOW_MS + 60_000)
    combiner.cycle(NOW_MS)
    steps = [(3_600_000, set()), (10_000, of_authors(0)), (59_999, of_authors(0)), (60_000, set())]
    for after_ms, expected in steps:
        combiner.tick(NOW_MS + after_ms)
        combiner.cycle(NOW_MS + after_ms)
        assert hidden(combiner) == expected


def test_overrides_that_are_replaced_again_and_again_leave_no_memory() -> None:
    combiner = filled(40)
    for n in range(9000):
        hide(combiner.view, n % 3, expires_at_ms=NOW_MS + n)
    assert len(combiner.view.overrides._ends) < 2 * 1024
    hide(combiner.view, 0)
    combiner.tick(NOW_MS + 9000)
    combiner.cycle(NOW_MS + 9000)
    assert hidden(combiner) == of_authors(0)
