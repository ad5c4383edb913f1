"""What the engagement step restores from its logs before it counts on."""

import itertools
from types import SimpleNamespace

import pytest

from builders.engagement_step import (
    NOW_MS,
    Running,
    event,
    new_accounts,
    post,
    record_of,
    state_of,
)
from builders.fake_log import KeptWriter
from builders.records import StoredRecord
from feedmill.streams.engagement import engagement_restore
from feedmill.streams.engagement.packed_states import PostState, encode_state
from feedmill.streams.kafka.topic_table import DAY_MS


def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By this clock each slice takes 10 ms."""
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.0, thread_time=lambda: next(seconds) / 100)
    monkeypatch.setattr(engagement_restore, "time", clock)


def test_a_restart_knows_the_users_of_the_day_behind_the_committed_offset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    morning_ms = NOW_MS // DAY_MS * DAY_MS + 1
    log = [event("p", "like", i, morning_ms + 3_600_000 * (i - 1), user=f"u{i}") for i in range(12)]
    assert log[0].timestamp < morning_ms
    running = Running(monkeypatch)
    counters = [record_of("p", running.apply([post("p", 0)], log)["counters", "p"])]
    again = Running(monkeypatch, counters, log, start=12)
    assert again.step.ready_for_engagements(0)
    at_ms = log[-1].timestamp
    more = [event("p", "like", 12 + i, at_ms, user=f"u{i}") for i in range(13)]
    state = state_of(again.apply(engagements=more), "p")
    # The first one acted the day before, and the last one never.
    assert state.counters.counts[2] == 12 + 2
    assert state_of(running.apply(engagements=more), "p") == state


def test_a_restart_reads_no_further_back_than_users_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = [event("p", "like", i, NOW_MS + i * 4_000, user=f"u{i}") for i in range(5_500)]
    running = Running(monkeypatch)
    counters = [record_of("p", running.apply([post("p", 0)], log)["counters", "p"])]
    again = Running(monkeypatch, counters, log, start=5_500)
    while not again.step.ready_for_engagements(0):
        again.step.poll(KeptWriter())
    # Half an hour is 450 offsets: users are known from offset 4,000 on.
    known = [event("p", "like", 5_500, log[-1].timestamp, user="u4000")]
    forgotten = [event("p", "like", 5_501, log[-1].timestamp, user="u3999")]
    assert again.apply(engagements=known) == running.apply(engagements=known) == {}
    state = state_of(again.apply(engagements=forgotten), "p")
    assert state.counters.counts[2] == 5_501
    assert state_of(running.apply(engagements=forgotten), "p") == state


def test_posts_do_not_wait_for_the_engagements_that_are_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = [event("p", "like", i, NOW_MS + i * 100, user=f"u{i}") for i in range(2_000)]
    running = Running(monkeypatch)
    counters = [record_of("p", running.apply([post("p", 0)], log)["counters", "p"])]
    slow_clock(monkeypatch)
    again = Running(monkeypatch, counters, log, start=2_000)
    assert again.step.ready_for(0)
    assert not again.step.ready_for_engagements(0)
    assert not again.step.is_idle
    assert state_of(again.apply([post("q", 1)]), "q").post_offset == 1
    while not again.step.ready_for_engagements(0):
        again.step.poll(KeptWriter())
    assert again.step.is_idle
    repeated = event("p", "like", 2_000, log[-1].timestamp, user="u1999")
    assert again.apply(engagements=[repeated]) == {}


@pytest.mark.parametrize("cut", [1_010, 1_040, 1_100])
def test_a_restart_within_a_burst_damps_as_if_there_had_been_none(
    monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    log = [event("p", "impression", i) for i in range(1_000)] + new_accounts("like", 1_000, 200)
    before = Running(monkeypatch).apply([post("p", 0)], log[:cut])
    counters = [record_of("p", before["counters", "p"])]
    again = Running(monkeypatch, counters, log[:cut], start=cut)
    while not again.step.ready_for_engagements(0):
        again.step.poll(KeptWriter())
    written = again.apply(engagements=log[cut:])
    assert state_of(written, "p") == state_of(Running(monkeypatch).apply([post("p", 0)], log), "p")


def test_a_restart_goes_on_from_the_counts_and_the_ids_of_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    events = [event("p", "impression", 0), event("p", "like", 1, event_id="e")]
    written = running.apply([post("p", 0)], events)
    counters = [record_of("p", written["counters", "p"])]
    again = Running(monkeypatch, counters, events, start=2)
    assert again.step.ready_reason() == ""
    more = [event("p", "like", 2, event_id="e"), event("p", "like", 3, event_id="f")]
    state = state_of(again.apply(engagements=more), "p")
    assert state.counters.counts[:3] == [1, 0, 2]
    assert again.count("feedmill_duplicates_total") == 1


def test_a_restart_behind_markers_of_transactions_still_knows_the_ids_of_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = [event("p", "impression", 0), event("p", "like", 1, event_id="e")]
    counters = [record_of("p", Running(monkeypatch).apply([post("p", 0)], events)["counters", "p"])]
    again = Running(monkeypatch, counters, events, start=9, ends_with_markers=True)
    assert again.step.ready_for_engagements(0)
    again.apply(engagements=[event("p", "like", 9, event_id="e")])
    assert again.count("feedmill_duplicates_total") == 1


def test_a_restart_where_retention_removed_what_was_counted_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = Running(monkeypatch).apply([post("p", 0)], [event("p", "like", 1, event_id="e")])
    counters = [record_of("p", written["counters", "p"])]
    again = Running(monkeypatch, counters, start=9, ends_with_markers=True)
    assert again.step.ready_for_engagements(0)
    state = state_of(again.apply(engagements=[event("p", "like", 9, event_id="f")]), "p")
    assert state.counters.counts[2] == 2


def test_a_restore_takes_many_records_in_calls_that_end_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow_clock(monkeypatch)
    states = (PostState(f"p{i}", i, through=i) for i in range(10_000))
    counters = [
        StoredRecord(i, NOW_MS, one.post_id.encode(), encode_state(one))
        for i, one in enumerate(states)
    ]
    running = Running(monkeypatch, counters, [event("p", "like", 9_999)], start=10_000)
    calls = 10
    while not running.step.ready_for_engagements(0) and calls < 100:
        before = len(running.step._states[0])
        running.step.poll(KeptWriter())
        assert len(running.step._states[0]) - before <= 250
        calls += 1
    assert len(running.step._states[0]) == 10_000
    assert calls >= 40


def test_a_record_of_counters_that_cannot_be_read_is_counted_and_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counters = [record_of("bad", b"{"), record_of("p", encode_state(PostState("p", 1)))]
    running = Running(monkeypatch, counters)
    assert running.count("feedmill_rejected_total") == 1
    assert state_of(running.apply(engagements=[event("p", "like", 0)]), "p").post_offset == 1


def test_counts_beyond_the_end_of_the_engagements_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counters = [record_of("p", encode_state(PostState("p", 1, 0.5, through=9)))]
    running = Running(monkeypatch, counters, start=3)
    assert "offset 9, but engagements[0] ends at 3" in running.step.ready_reason()
    assert not running.step.ready_for(0)
