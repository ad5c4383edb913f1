"""The log's clock follows the broker, whatever the host's clock says, and no wild jump."""

from __future__ import annotations

import pytest

from feedmill.streams.settings.clock import LogClock, now_ms

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_700_000_000_000


class Ticks:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.ms = 5_000.0

    def __call__(self) -> float:
        return self.ms


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def test_before_the_first_stamp_it_is_the_hosts_time(ticks: Ticks) -> None:
    clock = LogClock(ticks)
    assert not clock.is_set
    assert abs(clock.now_ms() - now_ms()) < HOUR_MS


def test_the_first_stamp_is_believed_however_far_it_is_from_the_host(ticks: Ticks) -> None:
    clock = LogClock(ticks)
    assert clock.stamp(START_MS)
    assert clock.is_set
    ticks.ms += 250
    assert clock.now_ms() == START_MS + 250


@pytest.mark.parametrize("jump_ms", [9 * DAY_MS, -9 * DAY_MS, HOUR_MS + 1000, -HOUR_MS - 1000])
def test_a_jump_above_an_hour_is_refused_and_said(ticks: Ticks, jump_ms: int) -> None:
    clock = LogClock(ticks)
    clock.stamp(START_MS)
    ticks.ms += 1000
    assert not clock.stamp(START_MS + 1000 + jump_ms)
    assert clock.now_ms() == START_MS + 1000
    assert clock.refused == 1
    assert f"jumped by {jump_ms / HOUR_MS:+.1f} hours" in clock.trouble
    assert clock.stamp(START_MS + 1000)
    assert clock.trouble == ""


def test_a_smaller_step_forward_is_followed(ticks: Ticks) -> None:
    clock = LogClock(ticks)
    clock.stamp(START_MS)
    assert clock.stamp(START_MS + HOUR_MS - 1000)
    assert clock.now_ms() == START_MS + HOUR_MS - 1000


def test_a_stamp_that_came_late_does_not_put_the_time_back(ticks: Ticks) -> None:
    clock = LogClock(ticks)
    clock.stamp(START_MS)
    ticks.ms += 5000
    assert clock.stamp(START_MS + 2000)
    assert clock.now_ms() == START_MS + 5000
