"""One round trip: each answer reaches its handler, and nothing of it stays behind."""

import gc
import weakref
from functools import partial
from typing import Any

from feedmill.streams.redis.round_trip import RoundTrip
from feedmill.streams.redis.write_batch import WriteReport


def note(trip: RoundTrip, seen: list[Any], answer: Any) -> None:
    trip.unwritten += 1
    seen.append(answer)


def test_answers_reach_their_handlers_in_order() -> None:
    trip = RoundTrip(WriteReport())
    seen: list[Any] = []
    for _ in range(3):
        trip.add(("GET", "key"), partial(note, trip, seen))
    trip.answered([1, None, 3])
    assert seen == [1, None, 3]
    assert trip.unwritten == 3


def test_one_handler_takes_the_answers_of_many_commands() -> None:
    trip = RoundTrip(WriteReport())
    seen: list[Any] = []
    trip.add(("GET", "key"), partial(note, trip, seen))
    trip.add_many([("GET", "key")], partial(note, trip, seen))
    trip.add_many([], partial(note, trip, seen))
    trip.add_many([("GET", "key"), ("GET", "key")], partial(note, trip, seen))
    trip.add(("GET", "key"), partial(note, trip, seen))
    assert len(trip.commands) == 5
    trip.answered([1, 2, None, 4, 5])
    assert seen == [1, [2], [None, 4], 5]


def test_a_trip_that_was_answered_leaves_the_collector_of_garbage_nothing_to_do() -> None:
    gc.disable()
    try:
        trip = RoundTrip(WriteReport())
        trip.add(("GET", "key"), partial(note, trip, []))
        trip.answered([1])
        alive = weakref.ref(trip)
        del trip
        assert alive() is None
    finally:
        gc.enable()
