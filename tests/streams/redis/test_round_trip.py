"""One round trip leaves nothing behind; what failed has a back-off; when changes are published."""

import gc
import json
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import redis
from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.redis.round_trip import (
    FIRST_RETRY_S,
    FORGOTTEN_AFTER_S,
    LAST_RETRY_S,
    NO_RIGHT,
    RetrySchedule,
    RoundTrip,
    error_code,
    error_text,
)
from feedmill.streams.redis.scripts import Command, Keys
from feedmill.streams.redis.write_batch import WriteReport
from feedmill.streams.redis.writes import ANNOUNCED_EVERY_S, GATHERED_S, Announcements, FeedVersion


def note(trip: RoundTrip, seen: list[Any], answer: Any) -> None:
    seen.append(answer)


def test_a_trip_that_was_answered_leaves_the_collector_of_garbage_nothing_to_do() -> None:
    gc.disable()
    try:
        trip = RoundTrip(WriteReport(), 0.0)
        trip.add(("GET", "key"), partial(note, trip, []))
        trip.answered([1])
        alive = weakref.ref(trip)
        del trip
        assert alive() is None
    finally:
        gc.enable()


def waits(schedule: RetrySchedule, failures: int) -> Iterator[float]:
    """How long a name that fails so often in a row waits each time."""
    now_s = 128.0  # differences are exact
    for _ in range(failures):
        failed_s = now_s
        schedule.failed("a", failed_s)
        handed_out: list[str] = []
        while not handed_out:
            now_s = schedule.next_s()
            assert schedule.take_due(now_s - 1e-6) == []
            handed_out = schedule.take_due(now_s)
        assert handed_out == ["a"]
        yield now_s - failed_s


def test_each_failure_waits_longer_up_to_a_limit() -> None:
    schedule = RetrySchedule()
    found = list(waits(schedule, 30))
    assert found[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert found == sorted(found)
    assert found[-1] == LAST_RETRY_S
    schedule.succeeded("a")
    assert next(waits(schedule, 1)) == FIRST_RETRY_S


def test_what_nobody_writes_again_is_forgotten() -> None:
    schedule = RetrySchedule()
    schedule.failed("a", 0.0, at_once=True)
    assert schedule.take_due(0.0) == ["a"]
    assert schedule.take_due(FORGOTTEN_AFTER_S - 1e-6) == []
    assert "a" in schedule
    assert schedule.take_due(FORGOTTEN_AFTER_S) == []
    assert "a" not in schedule
    assert schedule.next_s() == float("inf")


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["fail", "at once", "succeed", "take"])),
        max_size=40,
    )
)
def test_a_failure_is_handed_out_once_unless_success_comes_before(
    steps: list[tuple[str, str]],
) -> None:
    schedule, waiting, now_s = RetrySchedule(), set[str](), 0.0
    for name, step in steps:
        if step == "take":
            now_s += LAST_RETRY_S
            assert sorted(schedule.take_due(now_s)) == sorted(waiting)
            waiting.clear()
        elif step == "succeed":
            schedule.succeeded(name)
            waiting.discard(name)
        else:
            schedule.failed(name, now_s, at_once=step == "at once")
            waiting.add(name)
        assert waiting <= {name for name in "abc" if name in schedule}
        assert schedule.next_s() < float("inf") or not waiting


def test_what_a_script_may_not_do_is_a_missing_right() -> None:
    """As Redis 7.0 answers; the text has no code of its own."""
    for text in ("run this command or subcommand", "access at least one of the keys mentioned"):
        error = redis.ResponseError(f"The user executing the script can't {text} script: 4a16")
        assert error_code(error) == NO_RIGHT
        assert error_text(error).startswith("NOPERM The user executing")


def message(command: Command) -> tuple[str, int]:
    name, channel, text = command
    assert (name, channel) == ("PUBLISH", "x.feed-changes")
    told = json.loads(str(text, "utf-8") if isinstance(text, bytes) else "")
    assert set(told) == {"feed", "version", "config_offset", "at_ms"}
    return told["feed"], told["version"]


def test_changes_of_a_while_share_a_round_trip() -> None:
    announcements = Announcements(Keys("x."))
    announcements.add("first", FeedVersion(1, 3, 1_000), 50.0)
    announcements.add("later", FeedVersion(1, 3, 1_000), 50.0 + GATHERED_S / 2)
    assert announcements.next_s() == 50.0 + GATHERED_S
    assert len(announcements.take_due(50.0 + GATHERED_S)) == 2
    assert announcements.next_s() == float("inf")
    announcements.add("next", FeedVersion(1, 3, 1_000), 60.0)
    assert announcements.next_s() == 60.0 + GATHERED_S


def test_a_change_is_gathered_while_another_feed_waits_for_its_turn() -> None:
    announcements = Announcements(Keys("x."))
    announcements.add("busy", FeedVersion(1, 3, 1_000), 50.0)
    announcements.take_due(50.0)
    announcements.add("busy", FeedVersion(2, 3, 1_000), 50.0)
    announcements.add("quiet", FeedVersion(1, 3, 1_000), 50.04)
    assert announcements.next_s() == 50.04 + GATHERED_S
    assert list(map(message, announcements.take_due(50.07))) == [("quiet", 1)]
    assert announcements.next_s() == 50.0 + ANNOUNCED_EVERY_S


def test_when_feeds_were_published_is_not_kept_for_ever() -> None:
    announcements = Announcements(Keys("x."))
    for i in range(10_000):
        announcements.add(f"feed{i}", FeedVersion(1, 3, 1_000), 50.0)
    assert len(announcements.take_due(50.0)) == 10_000
    announcements.add("feed1", FeedVersion(2, 3, 1_000), 50.0)
    assert announcements.take_due(50.0) == []  # it is not its turn yet
    assert len(announcements.take_due(60.0)) == 1
    assert len(announcements._turn_s) == 1  # the others' turns were long ago
