"""Signals and withdrawals of many posts are taken in their order."""

from builders.events import NOW_MS, post, signal
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.batches import take_signals, take_written
from feedmill.rankers.combiner.view import PostView


def test_signals_and_withdrawals_are_taken_in_their_order() -> None:
    view = PostView(SignalNames())
    view.update_posts([post("p"), post("q"), post("r")], [1, 1, 1], [NOW_MS] * 3)
    one, other = (signal(post_id, 1, 0.25) for post_id in "pq")
    take_signals(view, "spam", [one, other, "p", "r", signal("r", 1, 0.5), "q", other, "unknown"])
    rows = [view.row_of(post_id) for post_id in "pqr"]
    stored = [view.signal(row, "spam") for row in rows if row is not None]
    assert [one and one.value for one in stored] == [None, 0.25, 0.5]


def test_signals_of_all_names_and_withdrawals_are_taken_in_their_order() -> None:
    view = PostView(SignalNames())
    view.update_posts([post("p"), post("q")], [1, 1], [NOW_MS] * 2)
    written: list[tuple[str, str, Signal | None]] = [
        ("spam", "p", signal("p", 1, 0.25)),
        ("spam", "q", signal("q", 1, 0.5)),
        ("spam", "p", None),
        ("quality", "p", signal("p", 1, 0.75)),
        ("quality", "q", None),
        ("quality", "q", signal("q", 1, 0.125)),
        ("spam", "unknown", None),
    ]
    take_written(view, written)
    rows = [row for post_id in "pq" if (row := view.row_of(post_id)) is not None]
    stored = [view.signal(row, name) for row in rows for name in ("spam", "quality")]
    assert [one and one.value for one in stored] == [None, 0.75, 0.5, 0.125]
