"""The engagement step without Kafka: what it counts, writes and forgets."""

import time
from collections.abc import Callable
from functools import partial

import pytest

from builders.engagement_step import (
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
from feedmill.events.errors import UsageError
from feedmill.streams.engagement import engagement
from feedmill.streams.engagement.feature_row import decode_row
from feedmill.streams.engagement.packed_states import PostState, encode_state
from feedmill.streams.engagement.partition_state import PartitionState
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
    running.apply([post("p", 0)], [event("p", "like", 5, event_id="e")])
    assert running.apply(engagements=[event("p", "like", 6, event_id="e")]) == {}
    assert running.count("feedmill_duplicates_total") == 1
    again = run([record_of("p", encode_state(PostState("p", 0, through=5)))])
    # Should the transaction that has these counts be aborted, the next one has them.
    written = state_of(again.apply(engagements=[event("p", "like", 5)]), "p")
    assert (written.through, sum(written.counters.counts)) == (5, 0)
    assert again.count("feedmill_duplicates_total") == 1


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
