"""Signals that wait for their post: which stay, which are dropped, and how many there are."""

from builders.events import signal
from feedmill.rankers.combiner.early_signals import EarlySignals


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
    assert (len(early), 7 in early, early.take(7)) == (0, False, {})


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
    assert (len(early), list(early._by_row)) == (2, [7])
    early.discard(7, "nsfw")
    early.discard(8, "nsfw")
    assert (len(early), list(early._by_row)) == (0, [])


def test_beyond_the_bound_the_row_that_waited_longest_goes_and_is_counted() -> None:
    early = EarlySignals(4)
    for row in (3, 1, 2):
        early.add(row, "spam", signal("p", 5, 0.1))
        early.add(row, "nsfw", signal("p", 5, 0.1)) if row == 3 else None
        assert early.drop_longest() is None
    early.add(1, "nsfw", signal("p", 5, 0.1))
    assert early.drop_longest() == 3
    assert (early.dropped, len(early), list(early._by_row)) == (2, 3, [1, 2])
    for _ in range(2):
        early.add(9, "spam", signal("p", 5 + len(early), 0.1))
    assert early.drop_longest() == 1
    assert (early.dropped, len(early)) == (4, 3)
    assert [row in early for row in (3, 1, 2)] == [False, False, True]
