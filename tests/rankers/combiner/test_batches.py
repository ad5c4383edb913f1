"""A batch is cut where a post comes again."""

from __future__ import annotations

from builders.events import NOW_MS, post, signal
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.batches import distinct_parts, take_signals
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
