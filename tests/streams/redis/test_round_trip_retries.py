"""The back-off of what failed, name by name."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.redis.round_trip import (
    FIRST_RETRY_S,
    FORGOTTEN_AFTER_S,
    LAST_RETRY_S,
    RetrySchedule,
)


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
    found = list(waits(RetrySchedule(), 30))
    assert found[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert found == sorted(found)
    assert found[-1] == LAST_RETRY_S


def test_success_ends_the_waiting() -> None:
    schedule = RetrySchedule()
    assert len(list(waits(schedule, 5))) == 5
    schedule.succeeded("a")
    assert "a" not in schedule
    assert next(waits(schedule, 1)) == FIRST_RETRY_S
    schedule.succeeded("a")
    assert schedule.take_due(1e9) == []


def test_what_did_not_fail_by_itself_waits_for_nothing() -> None:
    schedule = RetrySchedule()
    schedule.failed("a", 100.0, at_once=True)
    assert schedule.take_due(100.0) == ["a"]
    # It did not count as a failure of its own.
    schedule.failed("a", 100.0)
    assert schedule.next_s() == 100.0 + FIRST_RETRY_S


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
