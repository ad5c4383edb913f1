"""Signals that wait for their post: which stay, which are dropped, and how many there are."""

import gc

from builders.events import signal
from feedmill.rankers.combiner.view import EarlySignals


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


def test_a_signal_before_the_last_one_that_waits_is_told() -> None:
    early = EarlySignals(10)
    early.add(7, "spam", signal("p", 5, 0.1, revision=3))
    for offset, revision, expected in ((5, 2, True), (5, 3, False), (4, 9, True), (6, 0, False)):
        one = signal("p", offset, 0.1, revision=revision)
        assert early.has_later(7, "spam", one) is expected
    assert not early.has_later(7, "nsfw", signal("p", 1, 0.1))
    assert not early.has_later(8, "spam", signal("p", 1, 0.1))


def test_what_its_stage_withdrew_is_discarded() -> None:
    early = EarlySignals(10)
    early.add(7, "spam", signal("p", 5, 0.1))
    early.add(7, "nsfw", signal("p", 5, 0.1))
    early.add(7, "nsfw", signal("p", 6, 0.1))
    early.discard(7, "spam")
    assert (len(early), 7 in early.rows) == (2, True)
    early.discard(7, "nsfw")
    early.discard(8, "nsfw")
    assert (len(early), 7 in early.rows) == (0, False)


def test_beyond_the_bound_own_signals_of_the_row_that_waited_longest_go_and_are_counted() -> None:
    early = EarlySignals(4, own=["novelty", "topic"])
    for row in (3, 1, 2):
        early.add(row, "novelty", signal("p", 5, 0.1))
        early.add(row, "topic", signal("p", 5, 0.1)) if row == 3 else None
        early.add(row, "spam", signal("p", 5, 0.1))
        assert early.drop_longest() is None
    early.add(1, "topic", signal("p", 5, 0.1))
    assert early.drop_longest() == 3
    assert (early.dropped, len(early), [row in early.rows for row in (3, 1, 2)]) == (
        2,
        6,
        [True] * 3,
    )
    for offset in (6, 7):
        early.add(9, "novelty", signal("p", offset, 0.1))
    assert early.drop_longest() == 1
    assert early.take(3).keys() == {"spam"}
    assert (early.dropped, len(early), early.drop_longest()) == (4, 5, None)


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


def test_of_workers_no_more_are_to_be_taken_while_too_many_wait() -> None:
    early = EarlySignals(2, own=["novelty"])
    for row in range(3):
        assert not early.is_full
        early.add(row, "spam", signal("p", 5, 0.1))
        early.add(row, "novelty", signal("p", 5, 0.1)) if row < 2 else None
    assert early.is_full
    assert early.drop_longest() is None
    early.discard(0, "spam")
    assert (early.is_full, len(early), early.dropped) == (False, 4, 0)


def test_what_waits_for_a_version_that_was_passed_goes_row_by_row() -> None:
    early = EarlySignals(10)
    for row in range(4):
        for offset in (5, 6):
            early.add(row, "spam", signal("p", offset, 0.1))
    assert [early.next_rows(3), early.next_rows(3)] == [[0, 1, 2], [3, 0, 1]]
    early.drop_before(0, 6)
    early.drop_before(1, 7)
    assert (len(early), [row in early.rows for row in range(4)]) == (5, [True, False, True, True])
    assert [one.post_offset for one in early.take(0)["spam"]] == [6]


def test_the_collector_looks_once_at_signals_that_wait() -> None:
    """A hundred thousand of them, each time, took it 20 ms and more."""
    early = EarlySignals(10)
    for offset in (1, 2):
        early.add(7, "spam", signal("p", offset, 0.1))
        early.add(7, "nsfw", signal("p", offset, 0.1))
    gc.collect()
    for waiting in early.take(7).values():
        assert not any(map(gc.is_tracked, (waiting, *waiting)))
