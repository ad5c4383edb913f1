"""The engagement step without Kafka: what it counts, writes, forgets and restores."""

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from builders.engagement_step import (
    COUNTERS,
    NOW_MS,
    PRIOR,
    Running,
    deletion,
    event,
    new_accounts,
    post,
    record_of,
    state_of,
    value_of,
)
from builders.events import NO_COSTS, settings_of
from builders.fake_log import KeptWriter
from builders.records import StoredRecord
from feedmill.events.errors import UsageError
from feedmill.streams.engagement import engagement, engagement_restore
from feedmill.streams.engagement.feature_row import decode_row
from feedmill.streams.engagement.packed_states import PostState, encode_state
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.topic_table import DAY_MS, WINDOW_MS

Start = Callable[..., Running]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Start:
    return partial(Running, monkeypatch)


def test_a_cycle_writes_counts_and_a_signal_of_each_post_it_touched(run: Start) -> None:
    running = run()
    first = running.apply([post("p", 3), post("q", 4)])
    assert value_of(first, "p")["value"] == PRIOR
    events = [event("p", "impression", 0), event("p", "impression", 1), event("p", "like", 2)]
    second = running.apply(engagements=events)
    assert set(second) == {("counters", "p"), ("signals.engagement", "p")}
    assert value_of(second, "p") | {"value": 0.5, "post_offset": 3, "revision": 2} == value_of(
        second, "p"
    )
    assert state_of(second, "p").counters.counts[:3] == [2, 0, 1]


def test_an_event_that_repeats_or_was_counted_before_changes_nothing(run: Start) -> None:
    running = run()
    running.apply([post("p", 0)], [event("p", "like", 5, event_id="e", user="u")])
    assert running.apply(engagements=[event("p", "click", 6, event_id="e", user="u")]) == {}
    assert running.count("feedmill_duplicates_total") == 1
    again = run([record_of("p", encode_state(PostState("p", 0, through=5)))])
    # Should the transaction that has these counts be aborted, the next one has them.
    written = state_of(again.apply(engagements=[event("p", "like", 5)]), "p")
    assert (written.through, sum(written.counters.counts)) == (5, 0)
    assert again.count("feedmill_duplicates_total") == 1


def test_ids_that_another_user_sent_first_take_no_event_away(run: Start) -> None:
    taken = [event("p", "impression", i, event_id=f"e{i}", user="attacker") for i in range(50)]
    likes = [event("p", "like", 50 + i, event_id=f"e{i}", user=f"fan{i}") for i in range(50)]
    state = state_of(run().apply([post("p", 0)], [*taken, *likes]), "p")
    assert state.counters.counts[:3] == [1, 0, 50]


def test_a_user_counts_once_a_post_kind_and_day_whatever_the_event_ids(run: Start) -> None:
    running = run()
    events = [event("p", "impression", i, user=f"u{i}") for i in range(10)]
    running.apply([post("p", 0), post("q", 1)], events)
    running.apply(engagements=[event("p", "like", 10, event_id="e", user="u0")])
    flood = [event("p", "like", 11 + i, event_id=f"e{i}", user="u0") for i in range(1_000)]
    for start in range(0, 1_000, 250):
        assert running.apply(engagements=flood[start : start + 250]) == {}
    assert running.count("feedmill_repeated_users_total") == 1_000
    others = [
        event("p", "click", 2_000, user="u0"),
        event("q", "like", 2_001, user="u0"),
        event("p", "like", 2_002, user="u1"),
    ]
    state = state_of(running.apply(engagements=others), "p")
    assert state.counters.counts[:3] == [10, 1, 2]
    next_day = [event("p", "like", 2_003, NOW_MS + DAY_MS, user="u0")]
    assert state_of(running.apply(engagements=next_day), "p").counters.counts[2] == 3


def test_a_burst_of_new_accounts_is_damped_counted_and_said(run: Start) -> None:
    running = run()
    shown = [event("p", "impression", i, NOW_MS - 300 * (1_000 - i)) for i in range(1_000)]
    running.apply([post("p", 0)], shown)
    written = running.apply(engagements=new_accounts("like", 1_000, 200))
    assert state_of(written, "p").counters.counts[2] == 200
    assert 71 < state_of(written, "p").counters.sums[2] < 73
    assert state_of(written, "p").through == 1_199
    assert running.count("feedmill_damped_engagements_total") == 160
    assert value_of(written, "p")["reason"] == "damped in a burst: 160 like"
    after = running.apply(engagements=[event("p", "impression", 1_200)])
    assert "reason" not in value_of(after, "p")


def test_a_deleted_post_is_removed_and_its_late_events_wait_for_a_new_one(run: Start) -> None:
    running = run()
    running.apply([post("p", 0)], [event("p", "impression", 0)])
    written = running.apply([deletion("p", 1)], [event("p", "like", 1)])
    assert written["signals.engagement", "p"] is None
    assert state_of(written, "p").counters.counts[:3] == [0, 0, 1]
    again = running.apply([post("p", 2)])
    assert state_of(again, "p").counters.counts[:3] == [0, 0, 1]
    assert value_of(again, "p")["post_offset"] == 2


def test_a_post_was_there_from_its_first_record_until_it_is_deleted(run: Start) -> None:
    running = run()
    assert running.step.never_was(0, "p")
    running.apply([post("p", 0)])
    running.apply(engagements=[event("early", "like", 0)])
    assert [running.step.never_was(0, one) for one in ("p", "early")] == [False, False]
    running.apply([deletion("p", 1), deletion("early", 2)])
    assert [running.step.never_was(0, one) for one in ("p", "early")] == [True, True]


def test_counts_of_posts_that_never_came_are_bounded_and_their_records_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engagement, "PartitionState", lambda *_: PartitionState(most_unknown=3))
    running = Running(monkeypatch)
    written: dict[tuple[str, str], bytes | None] = {}
    for i in range(10):
        written |= running.apply(engagements=[event(f"none-{i}", "like", i)])
    kept = [key for (topic, key), value in written.items() if topic == "counters" and value]
    assert kept == ["none-7", "none-8", "none-9"]
    assert len(written) == 10
    assert running.count("feedmill_unknown_posts_total") == 7


@pytest.mark.parametrize("host_off_ms", [0, 9 * DAY_MS, -9 * DAY_MS])
def test_posts_are_forgotten_after_the_window_by_the_logs_time(
    monkeypatch: pytest.MonkeyPatch, host_off_ms: int
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: (NOW_MS + host_off_ms) * 1_000_000)
    running = Running(monkeypatch)
    running.apply([post("old", 0)], [event("old", "like", 0)])
    running.now_ms += WINDOW_MS - 1000
    running.apply([post("young", 1, int(running.now_ms))])
    for _ in range(3):
        running.step.background(KeptWriter(), 0.02)
    assert state_of(running.apply(engagements=[event("old", "like", 1)]), "old").post_offset == 0
    running.now_ms += WINDOW_MS + 61_000
    for _ in range(3):
        running.step.background(KeptWriter(), 0.02)
    late = running.apply(engagements=[event("old", "like", 2), event("young", "like", 3)])
    assert [state_of(late, key).post_offset for key in ("old", "young")] == [-1, -1]


def test_a_feed_with_a_longer_window_keeps_its_posts_as_long(run: Start) -> None:
    running = run()
    running.step.settings_changed(
        settings_of(("weights", NO_COSTS), ("feeds/slow", {"window_hours": 720}))
    )
    running.apply([post("old", 0)])
    running.now_ms += 30 * DAY_MS
    for _ in range(3):
        running.step.background(KeptWriter(), 0.02)
    assert state_of(running.apply(engagements=[event("old", "like", 0)]), "old").post_offset == 0


def test_a_cycle_logs_what_the_model_read_for_a_part_of_its_values(run: Start) -> None:
    running = run(feature_share=1.0)
    events = [event("p", "impression", 0), event("p", "impression", 1), event("p", "like", 2)]
    written = running.apply([post("p", 3), post("q", 4)], [*events, event("unknown", "like", 3)])
    rows = {key: decode_row(v or b"") for (topic, key), v in written.items() if topic == "features"}
    assert set(rows) == {"p", "q"}
    assert (rows["p"].post_offset, rows["p"].through, rows["p"].version) == (3, 2, "v1")
    assert (rows["p"].value, rows["p"].prior) == (0.5, PRIOR)
    assert (rows["p"].clicks, rows["p"].impressions) == (1, 2)
    assert rows["p"].counters == state_of(written, "p").counters
    assert (rows["q"].through, rows["q"].clicks, rows["q"].value) == (-1, 0, PRIOR)
    assert running.count("feedmill_feature_rows_total") == 2


def test_without_the_topic_of_its_features_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object, **__: object) -> int:
        raise UsageError("there is no topic `features`")

    monkeypatch.setattr("builders.engagement_step.count_partitions", missing)
    Running(monkeypatch)
    with pytest.raises(UsageError, match="no topic `features`"):
        Running(monkeypatch, feature_share=0.01)


def test_a_source_that_is_brigaded_is_named_and_counted(run: Start) -> None:
    running = run()
    running.apply([post("p", 0)])
    fakes = [event("p", "report", i, user=f"x{i}") for i in range(49)]
    running.apply(engagements=fakes)
    assert running.step.status().capped_sources == []
    running.apply(engagements=[event("p", "report", 50, user="y")])
    running.now_ms += 1_000
    assert running.step.status().capped_sources == ["author:author", "community:"]
    assert running.count("feedmill_damped_engagements_total") == 50
    running.step.background(KeptWriter(), 0.0)
    assert running.count("feedmill_brigaded_sources") == 2
    running.now_ms += 11 * 60_000
    assert running.step.status().capped_sources == []


def restarted(
    run: Start, log: Sequence[StoredRecord], start: int, **more: Any
) -> tuple[Running, Running]:
    """A step that counted a log of the post p, and one that takes over behind `start`."""
    running = run()
    counters = [record_of("p", running.apply([post("p", 0)], log[:start])["counters", "p"])]
    return running, run(counters, log[:start], start=start, **more)


def wait(running: Running) -> None:
    while not running.step.ready_for(0, "engagements"):
        running.step.poll(KeptWriter())


def likes(running: Running, *events: StoredRecord) -> int:
    """How many likes count once these events came."""
    return state_of(running.apply(engagements=events), "p").counters.counts[2]


def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By this clock each slice takes 10 ms."""
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.0, thread_time=lambda: next(seconds) / 100)
    monkeypatch.setattr(engagement_restore, "time", clock)


def test_a_restart_knows_the_users_of_the_day_behind_the_committed_offset(run: Start) -> None:
    morning_ms = NOW_MS // DAY_MS * DAY_MS + 1
    log = [event("p", "like", i, morning_ms + 3_600_000 * (i - 1), user=f"u{i}") for i in range(12)]
    assert log[0].timestamp < morning_ms
    running, again = restarted(run, log, 12)
    assert again.step.ready_for(0, "engagements")
    more = [event("p", "like", 12 + i, log[-1].timestamp, user=f"u{i}") for i in range(13)]
    # The first one acted the day before, and the last one never.
    state = state_of(again.apply(engagements=more), "p")
    assert state.counters.counts[2] == 12 + 2
    assert state_of(running.apply(engagements=more), "p") == state


def test_a_restart_reads_no_further_back_than_users_are_known(run: Start) -> None:
    log = [event("p", "like", i, NOW_MS + i * 4_000, user=f"u{i}") for i in range(5_500)]
    running, again = restarted(run, log, 5_500)
    wait(again)
    # Half an hour is 450 offsets: users are known from offset 4,000 on.
    known = [event("p", "like", 5_500, log[-1].timestamp, user="u4000")]
    assert again.apply(engagements=known) == running.apply(engagements=known) == {}
    forgotten = event("p", "like", 5_501, log[-1].timestamp, user="u3999")
    assert likes(again, forgotten) == likes(running, forgotten) == 5_501


def test_posts_do_not_wait_for_the_engagements_that_are_read_again(
    run: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = [event("p", "like", i, NOW_MS + i * 100, user=f"u{i}") for i in range(2_000)]
    slow_clock(monkeypatch)
    _, again = restarted(run, log, 2_000)
    assert again.step.ready_for(0)
    assert not again.step.ready_for(0, "engagements")
    assert not again.step.is_idle
    assert state_of(again.apply([post("q", 1)]), "q").post_offset == 1
    wait(again)
    assert again.step.is_idle
    repeated = event("p", "like", 2_000, log[-1].timestamp, user="u1999")
    assert again.apply(engagements=[repeated]) == {}


@pytest.mark.parametrize("cut", [1_010, 1_040, 1_100])
def test_a_restart_within_a_burst_damps_as_if_there_had_been_none(run: Start, cut: int) -> None:
    log = [event("p", "impression", i) for i in range(1_000)] + new_accounts("like", 1_000, 200)
    _, again = restarted(run, log, cut)
    wait(again)
    written = again.apply(engagements=log[cut:])
    assert state_of(written, "p") == state_of(run().apply([post("p", 0)], log), "p")


def test_a_restart_goes_on_from_the_counts_and_the_ids_of_ten_minutes(run: Start) -> None:
    events = [event("p", "impression", 0), event("p", "like", 1, event_id="e", user="u")]
    _, again = restarted(run, events, 2)
    assert again.step.status().reason == ""
    more = [event("p", "like", 2, event_id="e", user="u"), event("p", "like", 3, event_id="f")]
    state = state_of(again.apply(engagements=more), "p")
    assert state.counters.counts[:3] == [1, 0, 2]
    assert again.count("feedmill_duplicates_total") == 1


def test_behind_markers_of_transactions_ids_are_known_and_where_retention_removed_them_it_is_ready(
    run: Start,
) -> None:
    events = [event("p", "impression", 0), event("p", "like", 1, event_id="e", user="u")]
    counters = [record_of("p", run().apply([post("p", 0)], events)["counters", "p"])]
    for kept, counted in ((events, 1), ((), 2)):
        again = run(counters, kept, start=9, ends_with_markers=True)
        assert again.step.ready_for(0, "engagements")
        more = event("p", "like", 9, event_id="e", user="u"), event("p", "click", 10)
        assert likes(again, *more) == counted
        assert again.count("feedmill_duplicates_total") == 2 - counted


def test_a_restore_takes_many_records_in_calls_that_end_soon(
    run: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_clock(monkeypatch)
    states = (PostState(f"p{i}", i, through=i) for i in range(10_000))
    counters = [
        StoredRecord(i, NOW_MS, one.post_id.encode(), encode_state(one))
        for i, one in enumerate(states)
    ]
    running = run(counters, [event("p", "like", 9_999)], start=10_000)
    calls = 10
    while not running.step.ready_for(0, "engagements") and calls < 100:
        before = len(running.step._states[0])
        running.step.poll(KeptWriter())
        assert len(running.step._states[0]) - before <= 250
        calls += 1
    assert len(running.step._states[0]) == 10_000
    assert calls >= 40


def test_a_record_of_counters_that_cannot_be_read_is_counted_and_passed_over(run: Start) -> None:
    bad = b"{", b'{"post_id": 1}', encode_state(PostState("bad", 1, through=2**70))
    counters = [record_of("bad", value) for value in bad]
    running = run([*counters, record_of("p", encode_state(PostState("p", 1)))])
    assert running.count("feedmill_rejected_total") == 3
    assert state_of(running.apply(engagements=[event("p", "like", 0)]), "p").post_offset == 1


def test_counts_beyond_the_end_of_the_engagements_are_refused(run: Start) -> None:
    counters = [record_of("p", encode_state(PostState("p", 1, 0.5, through=9)))]
    running = run(counters, start=3)
    assert "offset 9, but engagements[0] ends at 3" in running.step.status().reason
    assert not running.step.ready_for(0)


def counted(run: Start, count: int) -> tuple[list[StoredRecord], list[StoredRecord]]:
    """Two likes of each post, and its counts after each of them."""
    running, counters, log = run(), list[StoredRecord](), list[StoredRecord]()
    names = [f"p{i}" for i in range(count)]
    for user, posts in (("u", [post(name, i) for i, name in enumerate(names)]), ("v", [])):
        first = len(log)
        log += [event(name, "like", first + i, user=user) for i, name in enumerate(names)]
        written = running.apply(posts, log[first:])
        counters += [
            record_of(name, written["counters", name], first + i) for i, name in enumerate(names)
        ]
    return counters, log


@pytest.mark.parametrize("ahead", [0, 300, 700, 1_000])
def test_a_partition_that_was_read_ahead_is_read_on_to_its_end_and_nothing_of_it_twice(
    run: Start, ahead: int
) -> None:
    counters, log = counted(run, 500)
    fresh, again = (run(counters, log, start=1_000, ahead=one) for one in (None, ahead))
    for running in (fresh, again):
        wait(running)
    more = [event(f"p{i}", "like", 1_000 + i, user="w") for i in range(500)]
    written = again.apply(engagements=more)
    assert written == fresh.apply(engagements=more)
    assert {state_of(written, f"p{i}").counters.counts[2] for i in range(500)} == {3}
    assert again.logs[0].reads == [(COUNTERS, 0), (COUNTERS, ahead)]


def test_posts_wait_for_what_was_counted_since_a_partition_was_read_ahead_and_the_loop_does_not(
    run: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters, log = counted(run, 1_000)
    slow_clock(monkeypatch)
    again = run(counters, log, start=2_000, ahead=100)
    calls = 0
    while not again.step.ready_for(0):
        assert again.step.background(KeptWriter(), 1.0)
        again.step.poll(KeptWriter())
        calls += 1
    assert calls > 1


def test_what_takes_too_much_memory_or_does_not_come_is_not_kept_ahead(
    run: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters, log = counted(run, 200)
    monkeypatch.setattr(engagement_restore, "MOST_AHEAD", 150)
    again = run(counters, log, start=400, ahead=400)
    wait(again)
    assert again.logs[0].reads == [(COUNTERS, 0), (COUNTERS, 0)]
    more = event("p7", "like", 400, user="w")
    assert state_of(again.apply(engagements=[more]), "p7").counters.counts[2] == 3
    another = run(counters, log, start=400, ahead=100, owns=False)
    assert another.logs[0].positions() == {}


def test_a_worker_stays_ready_while_it_reads_ahead(run: Start) -> None:
    running = run(*counted(run, 10), start=20)
    wait(running)
    running.step.prepare(AssignmentChange(0, gained=(1,)))
    assert not running.step.status().may_join
    assert running.step.status().reason == ""
