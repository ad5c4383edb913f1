"""The engagement step without Kafka: what it counts, writes, forgets and restores."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.fake_log import FakeLog, KeptWriter
from builders.records import StoredRecord, record, record_batch
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.feeds import FeedSpec
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.counters import Counters
from feedmill.features.post_batch import PostBatch
from feedmill.rankers.engagement import EngagementModel
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.topics import DAY_MS, WINDOW_MS
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages import engagement, engagement_restore
from feedmill.streams.stages.decoding import decode_work
from feedmill.streams.stages.engagement import EngagementStep
from feedmill.streams.stages.engagement_state import PostState, decode_state, encode_state
from feedmill.streams.stages.partition_state import PartitionState
from feedmill.streams.stages.step import StepContext

NOW_MS = 1_700_000_000_000
PRIOR = 0.25
COUNTERS, ENGAGEMENTS = TopicPartition("counters", 0), TopicPartition("engagements", 0)


class LikesOverImpressions:
    """A model whose scores are plain to see."""

    name, version = "engagement", "v1"

    def prior_batch(self, batch: PostBatch) -> np.ndarray:
        return np.full(len(batch), PRIOR)

    def score_many(self, priors: np.ndarray, counters: Sequence[Counters]) -> np.ndarray:
        return np.array(
            [
                c.counts[2] / c.counts[0] if c.counts[0] else p
                for p, c in zip(priors, counters, strict=True)
            ]
        )


class Running:
    """A step that owns partition 0, with the logs it restores from and a clock of our own."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        counters: Sequence[StoredRecord] = (),
        engagements: Sequence[StoredRecord] = (),
        start: int = 0,
        *,
        ends_with_markers: bool = False,
    ) -> None:
        self.now_ms = float(NOW_MS)
        clock = LogClock(lambda: self.now_ms)
        clock.stamp(NOW_MS)
        self.metrics = Metrics("engagement", "test")
        topics = {COUNTERS: list(counters), ENGAGEMENTS: list(engagements)}
        ends = {ENGAGEMENTS: start} if ends_with_markers else {}
        monkeypatch.setattr(
            engagement_restore, "LogConsumer", lambda *_: FakeLog(topics, ends=ends)
        )
        self.step = EngagementStep(lambda: cast(EngagementModel, LikesOverImpressions()))
        connection = cast(Any, SimpleNamespace(environment=Environment(user_window=1_000)))
        self.step.start(StepContext(connection, clock, self.metrics, 1))
        end = start if ends_with_markers else start + len(engagements)
        change = AssignmentChange(
            1, gained=(0,), starts={ENGAGEMENTS: start}, ends={ENGAGEMENTS: end}
        )
        self.step.on_assigned(change)
        for _ in range(10):
            self.step.poll(KeptWriter())

    def apply(
        self, posts: Sequence[StoredRecord] = (), engagements: Sequence[StoredRecord] = ()
    ) -> dict[tuple[str, str], bytes | None]:
        """What a cycle writes, by topic and key."""
        work = decode_work(
            [record_batch("posts", posts)] if posts else [],
            [record_batch("engagements", engagements)] if engagements else [],
            partitions=1,
            epoch=1,
            now_ms=int(self.now_ms),
        )
        assert not work.rejected
        writer = KeptWriter()
        self.step.apply(work, writer)
        assert {owner for *_, owner in writer.added} <= {0}
        return {(topic, (key or b"").decode()): value for topic, key, value, _ in writer.added}

    def count(self, metric: str) -> float:
        page = self.metrics.text()
        lines = [line for line in page.splitlines() if line.startswith(metric + "{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def post(post_id: str, offset: int, at_ms: int = NOW_MS) -> StoredRecord:
    return record(post_id, Post(post_id, "author", at_ms, "text"), offset=offset, timestamp=at_ms)


def deletion(post_id: str, offset: int) -> StoredRecord:
    return record(post_id, None, offset=offset, timestamp=NOW_MS)


def event(
    post_id: str,
    kind: EngagementKind,
    offset: int,
    at_ms: int = NOW_MS,
    event_id: str | None = None,
    user: str | None = None,
) -> StoredRecord:
    """By a user of its own unless told otherwise."""
    content = Engagement(post_id, user or f"user-{offset}", kind, at_ms, event_id)
    return record(post_id, content, offset=offset, timestamp=at_ms)


def state_of(written: dict[tuple[str, str], bytes | None], post_id: str) -> PostState:
    value = written["counters", post_id]
    assert value is not None
    return decode_state(value)


def value_of(written: dict[tuple[str, str], bytes | None], post_id: str) -> Any:
    value = written["signals.engagement", post_id]
    assert value is not None
    return json.loads(value)


def test_a_cycle_writes_counts_and_a_signal_of_each_post_it_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    first = running.apply([post("p", 3), post("q", 4)])
    assert value_of(first, "p")["value"] == PRIOR
    events = [event("p", "impression", 0), event("p", "impression", 1), event("p", "like", 2)]
    second = running.apply(engagements=events)
    assert set(second) == {("counters", "p"), ("signals.engagement", "p")}
    assert value_of(second, "p") | {"value": 0.5, "post_offset": 3, "revision": 2} == value_of(
        second, "p"
    )
    assert state_of(second, "p").counters.counts[:3] == [2, 0, 1]


def test_an_event_that_repeats_or_was_counted_before_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    running.apply([post("p", 0)], [event("p", "like", 5, event_id="e")])
    assert running.apply(engagements=[event("p", "like", 6, event_id="e")]) == {}
    assert running.count("feedmill_duplicates_total") == 1
    again = Running(monkeypatch, [record_of("p", encode_state(PostState("p", 0, through=5)))])
    assert again.apply(engagements=[event("p", "like", 5)]) == {}
    assert again.count("feedmill_duplicates_total") == 1


def test_a_user_counts_once_a_post_kind_and_day_whatever_the_event_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
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


def test_a_restart_knows_the_users_of_the_day_behind_the_committed_offset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    morning_ms = NOW_MS // DAY_MS * DAY_MS + 1
    log = [event("p", "like", i, morning_ms + 3_600_000 * (i - 1), user=f"u{i}") for i in range(12)]
    assert log[0].timestamp < morning_ms
    running = Running(monkeypatch)
    counters = [record_of("p", running.apply([post("p", 0)], log)["counters", "p"])]
    again = Running(monkeypatch, counters, log, start=12)
    assert again.step.ready_for(0)
    at_ms = log[-1].timestamp
    more = [event("p", "like", 12 + i, at_ms, user=f"u{i}") for i in range(13)]
    state = state_of(again.apply(engagements=more), "p")
    # The first one acted the day before, and the last one never.
    assert state.counters.counts[2] == 12 + 2
    assert state_of(running.apply(engagements=more), "p") == state


def test_a_restart_reads_no_further_back_than_users_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = [event("p", "like", i, NOW_MS + i * 2_000, user=f"u{i}") for i in range(5_500)]
    running = Running(monkeypatch)
    counters = [record_of("p", running.apply([post("p", 0)], log)["counters", "p"])]
    again = Running(monkeypatch, counters, log, start=5_500)
    while not again.step.ready_for(0):
        again.step.poll(KeptWriter())
    # Ten minutes are 300 offsets: users are known from offset 4,000 on.
    known = [event("p", "like", 5_500, log[-1].timestamp, user="u4000")]
    forgotten = [event("p", "like", 5_501, log[-1].timestamp, user="u3999")]
    assert again.apply(engagements=known) == running.apply(engagements=known) == {}
    state = state_of(again.apply(engagements=forgotten), "p")
    assert state.counters.counts[2] == 5_501
    assert state_of(running.apply(engagements=forgotten), "p") == state


def test_a_deleted_post_is_removed_and_its_late_events_wait_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    running.apply([post("p", 0)], [event("p", "impression", 0)])
    written = running.apply([deletion("p", 1)], [event("p", "like", 1)])
    assert written["signals.engagement", "p"] is None
    assert state_of(written, "p").counters.counts[:3] == [0, 0, 1]
    again = running.apply([post("p", 2)])
    assert state_of(again, "p").counters.counts[:3] == [0, 0, 1]
    assert value_of(again, "p")["post_offset"] == 2


def test_counts_of_posts_that_never_came_are_bounded_and_their_records_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engagement, "PartitionState", lambda _: PartitionState(most_unknown=3))
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


def test_a_feed_with_a_longer_window_keeps_its_posts_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    running.step.settings_changed(Settings(feeds={"slow": FeedSpec(window_hours=720.0)}))
    running.apply([post("old", 0)])
    running.now_ms += 30 * DAY_MS
    for _ in range(3):
        running.step.background(KeptWriter(), 0.02)
    assert state_of(running.apply(engagements=[event("old", "like", 0)]), "old").post_offset == 0


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
    assert again.step.ready_for(0)
    again.apply(engagements=[event("p", "like", 9, event_id="e")])
    assert again.count("feedmill_duplicates_total") == 1


def test_a_restart_where_retention_removed_what_was_counted_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = Running(monkeypatch).apply([post("p", 0)], [event("p", "like", 1, event_id="e")])
    counters = [record_of("p", written["counters", "p"])]
    again = Running(monkeypatch, counters, start=9, ends_with_markers=True)
    assert again.step.ready_for(0)
    state = state_of(again.apply(engagements=[event("p", "like", 9, event_id="f")]), "p")
    assert state.counters.counts[2] == 2


def test_a_restore_takes_many_records_in_calls_that_end_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(seconds) / 100)
    monkeypatch.setattr(engagement_restore, "time", clock)
    states = (PostState(f"p{i}", i, through=i) for i in range(10_000))
    counters = [
        StoredRecord(i, NOW_MS, one.post_id.encode(), encode_state(one))
        for i, one in enumerate(states)
    ]
    running = Running(monkeypatch, counters, [event("p", "like", 9_999)], start=10_000)
    calls = 10
    while not running.step.ready_for(0) and calls < 100:
        # By its clock each slice takes 10 ms.
        before = len(running.step._states[0])
        running.step.poll(KeptWriter())
        assert len(running.step._states[0]) - before <= 250
        calls += 1
    assert len(running.step._states[0]) == 10_000
    assert calls >= 40


def record_of(post_id: str, value: bytes | None) -> StoredRecord:
    return StoredRecord(0, NOW_MS, post_id.encode(), value)


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
