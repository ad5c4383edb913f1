"""A batch is cut where a post comes again."""

from __future__ import annotations

from builders.events import NOW_MS, post, signal
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.batches import take_signals, take_written
from feedmill.rankers.combiner.distinct_parts import MANY_FROM, distinct_parts
from feedmill.rankers.combiner.view import PostView


def test_a_part_ends_where_a_post_comes_again() -> None:
    for ids, parts in (
        ("", [""]),
        ("abc", ["abc"]),
        ("aa", ["a", "a"]),
        ("abcadbaa", ["abc", "adb", "a", "a"]),
    ):
        assert [ids[part] for part in distinct_parts(ids)] == parts


def test_signals_and_withdrawals_are_taken_in_their_order() -> None:
    view = PostView(SignalNames())
    view.update_posts([post("p"), post("q"), post("r")], [1, 1, 1], [NOW_MS] * 3)
    one, other = (signal(post_id, 1, 0.25) for post_id in "pq")
    take_signals(view, "spam", [one, other, "p", "r", signal("r", 1, 0.5), "q", other, "unknown"])
    rows = [view.row_of(post_id) for post_id in "pqr"]
    stored = [view.signal(row, "spam") for row in rows if row is not None]
    assert [one and one.value for one in stored] == [None, 0.25, 0.5]


def test_few_signals_and_many_are_taken_alike() -> None:
    names, ids = SignalNames(), [f"p{i}" for i in range(60)]
    written: list[tuple[str, str, Signal | None]] = [
        (name, post_id, signal(post_id, 1, 0.25 + i / 100))
        for i, post_id in enumerate(ids)
        for name in names.all
    ]
    written += [("spam", "p3", None), ("quality", "p4", None), ("spam", "unknown", None)]
    assert len(written) > MANY_FROM * len(names.all)
    views = []
    for most in (1, len(written)):
        view = PostView(names)
        view.update_posts([post(post_id) for post_id in ids], [1] * 60, [NOW_MS] * 60)
        for start in range(0, len(written), most):
            take_written(view, written[start : start + most])
        views.append([view.signal(row, name) for row in range(60) for name in names.all])
    assert views[0] == views[1]
    assert views[0].count(None) == 2
