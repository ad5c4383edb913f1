"""`FeedPlaces`: the earliest feeds have the places, in whatever order they are noted."""

from __future__ import annotations

from random import Random

import pytest

from feedmill.rankers.combiner import feed_places
from feedmill.rankers.combiner.feed_places import FeedPlaces

TIMES = [("community:c", 30), ("community:a", 10), ("community:b", 10), ("community:d", 40)]


def places_of(limit: int) -> FeedPlaces:
    return FeedPlaces({"community:*": limit, "lang:*": 1000})


def noted(limit: int, times: list[tuple[str, int]]) -> FeedPlaces:
    places = places_of(limit)
    for feed, time in times:
        places.note(feed, time)
    return places


@pytest.mark.parametrize("seed", range(6))
def test_the_earliest_have_places_whatever_the_order(seed: int) -> None:
    shuffled = Random(seed).sample(TIMES, len(TIMES))
    assert noted(3, shuffled).first() == ["community:a", "community:b", "community:c"]
    assert noted(1, shuffled).first() == ["community:a"]


def test_a_later_post_does_not_move_a_feed_and_an_earlier_one_does() -> None:
    places = noted(2, TIMES)
    places.note("community:a", 90)
    assert places.first() == ["community:a", "community:b"]
    places.take_moved()
    assert places.note("community:d", 5)
    assert places.take_moved()
    assert places.first() == ["community:d", "community:a"]
    assert not places.has_place("community:b")


def test_a_place_that_is_left_goes_to_the_next() -> None:
    places = noted(2, TIMES)
    places.take_moved()
    places.drop("community:d")  # it only waited, but who waits may have changed
    places.take_moved()
    places.drop("community:a")
    assert places.take_moved()
    assert places.first() == ["community:b", "community:c"]
    assert places.first(more=5) == ["community:b", "community:c"]


def test_below_the_limit_nothing_moves_when_feeds_come_and_go() -> None:
    places = noted(4, TIMES)
    places.drop("community:a")
    assert not places.take_moved()
    assert places.refused == 0


def test_another_limit_gives_and_takes_places() -> None:
    places = noted(4, TIMES)
    places.set_limits({"community:*": 1})
    assert places.take_moved()
    assert places.first() == ["community:a"]
    places.set_limits({"community:*": 2})
    assert places.take_moved()
    assert places.has_place("community:b")


def test_a_feed_is_refused_once() -> None:
    places = noted(1, TIMES)
    for feed, time in TIMES:
        places.note(feed, time)
    # `a` came after `c`, to whose place it had a right.
    assert places.refused == 2


def test_patterns_have_places_of_their_own() -> None:
    places = noted(1, [("community:a", 5), ("lang:en", 9)])
    assert places.first() == ["community:a", "lang:en"]


def test_what_was_noted_is_taken_once() -> None:
    places = noted(2, TIMES)
    assert sorted(places.take_times()) == sorted(TIMES)
    assert places.take_times() == []
    assert [places.note(feed, time) for feed, time in TIMES[:3]] == [True, True, True]


def test_of_very_many_that_wait_the_latest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_places, "MAX_WAITING", 2)
    places = noted(1, TIMES)
    assert places.time_of("community:d") is None
    # Nobody knows any more whether a post was shown in it.
    assert not places.is_unknown("community:d")
