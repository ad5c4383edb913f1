"""Event ids that repeat, against the definition: the same id within ten minutes before."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.engagement_log import START_MS, Event, draw_log, recent_before
from builders.work import bytecode_steps
from feedmill.events.engagement import Engagement
from feedmill.streams.stages.recent_events import DEDUPLICATED_MS, RecentEvents


def verdicts(log: list[Event]) -> dict[int, bool]:
    """By offset whether the event repeats another."""
    recent = RecentEvents()
    return {record.offset: recent.repeats(event, record.timestamp) for record, event in log}


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 150))
def test_ten_minutes_read_again_give_the_verdicts_of_an_undisturbed_run(
    seed: int, length: int
) -> None:
    random = Random(seed)
    log = draw_log(random, length)
    repeats = verdicts(log)
    start = random.choice(log)[0].offset
    recent = RecentEvents()
    recent_before(log, start, recent)
    for record, event in log:
        if record.offset >= start:
            assert recent.repeats(event, record.timestamp) == repeats[record.offset]


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_an_event_repeats_if_its_id_stands_in_the_ten_minutes_before(seed: int) -> None:
    log = draw_log(Random(seed), 100)
    repeats = verdicts(log)
    for i, (record, event) in enumerate(log):
        same = [
            earlier.timestamp
            for earlier, other in log[:i]
            if (other.post_id, other.event_id) == (event.post_id, event.event_id)
        ]
        within = any(record.timestamp - at <= DEDUPLICATED_MS for at in same)
        assert repeats[record.offset] == (event.event_id is not None and within)


@pytest.mark.parametrize(("gap_ms", "repeats"), [(0, True), (600_000, True), (600_001, False)])
def test_the_window_is_ten_minutes_of_record_time(gap_ms: int, repeats: bool) -> None:
    recent = RecentEvents()
    event = Engagement("p", "u", "like", 0, "e")
    assert not recent.repeats(event, START_MS)
    assert recent.repeats(event, START_MS + gap_ms) == repeats


def test_the_same_id_on_another_post_and_no_id_at_all_are_no_repetition() -> None:
    recent = RecentEvents()
    for event in (
        Engagement("p", "u", "like", 0, "e"),
        Engagement("q", "u", "like", 0, "e"),
        Engagement("p", "u", "like", 0),
        Engagement("p", "u", "like", 0),
    ):
        assert not recent.repeats(event, START_MS)


def test_recent_ids_are_forgotten_after_their_window() -> None:
    recent, used = RecentEvents(), 0
    for i in range(20_000):
        recent.repeats(Engagement("p", "u", "like", 0, f"e{i}"), START_MS + i * 1000)
        recent.repeats(Engagement("p", "u", "like", 0, "same"), START_MS + i * 1000)
        assert len(recent) <= 602
        used = recent.used_bytes if i == 700 else used
    assert recent.used_bytes <= 1.1 * used


def test_an_event_after_a_gap_costs_little_work_and_the_old_ones_go_by_and_by() -> None:
    recent = RecentEvents()
    for i in range(2_000):
        recent.repeats(Engagement("p", "u", "like", 0, f"e{i}"), START_MS)
    late = Engagement("p", "u", "like", 0, "late")
    assert bytecode_steps(lambda: recent.repeats(late, START_MS + DEDUPLICATED_MS + 1)) < 10_000
    assert not recent.repeats(Engagement("p", "u", "like", 0, "e1999"), START_MS + 700_000)
    for i in range(2_000):
        recent.repeats(Engagement("p", "u", "like", 0, f"f{i}"), START_MS + 700_000)
    assert len(recent) == 2_002


def test_an_event_takes_little_memory() -> None:
    recent = RecentEvents()
    for i in range(30_000):
        recent.repeats(Engagement(f"post-{i}", "u", "like", 0, f"event-{i}"), START_MS)
    assert recent.used_bytes / 30_000 < 60
