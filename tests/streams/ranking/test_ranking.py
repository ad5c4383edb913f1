"""When the combiner's step has something to do, without Kafka and Redis."""

import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from builders.events import NOW_MS, override, post, settings_of, signal
from builders.fake_log import KeptWriter
from builders.ranking_step import NAMES, started, turn, turn_until_idle, writer_of
from feedmill.events.instance import Instance, PartitionLag
from feedmill.events.override import OverrideKey
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import FetchedRecord, TopicPartition
from feedmill.streams.ranking import ranking, redis_handover
from feedmill.streams.ranking.ranking import RankingStep
from feedmill.streams.redis.write_batch import FinishedBatch, WriteBatch, WriteReport
from feedmill.streams.worker.step import PostPartition, WorkBatch, WrittenSignal


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> RankingStep:
    """Restored, and under a token."""
    made = started(monkeypatch)
    made.settings_changed(Settings(NAMES))
    made._handover.set_tokens(dict.fromkeys(ALL_SHARDS, 1))
    turn_until_idle(made)
    return made


def take_post(step: RankingStep, post_id: str) -> None:
    step.combiner.view.update_post(post(post_id, communities=("c",)), 1, NOW_MS)
    written = [WrittenSignal(n, post_id, signal(post_id, 1, 0.1)) for n in NAMES.all]
    step.apply(WorkBatch(NOW_MS, signals=written), KeptWriter())


def test_it_is_idle_once_the_redis_writer_has_everything(step: RankingStep) -> None:
    writer = writer_of(step)
    take_post(step, "p")
    assert [feed.feed for batch in writer.batches for feed in batch.feeds if feed.entries]
    turn_until_idle(step)


def test_that_all_is_written_gives_it_nothing_to_do(step: RankingStep) -> None:
    take_post(step, "p")
    turn_until_idle(step)
    writer = writer_of(step)
    written = WriteBatch(NOW_MS, {}, (), ())
    for unwritten in (0, 1):
        step._handover._submitted.append(-1)
        report = WriteReport(finished=[FinishedBatch(written, 0.0, unwritten)])
        writer.poll = lambda report=report: report
        step.poll(KeptWriter())
        assert step.is_idle == (unwritten == 0)


def test_it_is_not_idle_while_the_redis_writer_has_no_room(step: RankingStep) -> None:
    writer = writer_of(step)
    writer.has_room = False
    take_post(step, "p")
    for _ in range(3):
        turn(step)
        assert not step.is_idle
    writer.has_room = True
    step.background(KeptWriter(), 1.0)
    assert [change.post_id for batch in writer.batches for change in batch.signals] == ["p"]


def test_what_the_redis_writer_reports_is_dealt_with_in_the_next_turn(step: RankingStep) -> None:
    take_post(step, "p")
    turn_until_idle(step)
    writer = writer_of(step)
    writer.poll = lambda: WriteReport(rewrite_posts={"p"})
    step.poll(KeptWriter())
    step.background(KeptWriter(), 1.0)
    assert [change.post_id for batch in writer.batches for change in batch.signals] == ["p"]


def test_the_redis_writer_begins_at_once_with_many_posts_and_with_few_when_the_loop_waits(
    step: RankingStep,
) -> None:
    writer = writer_of(step)
    take(step, *(post(f"p{i}") for i in range(ranking._LEAVE_FROM_POSTS - 1)))
    assert writer.batches
    step.background(KeptWriter(), 1.0)
    assert not writer.has_begun
    step.poll(KeptWriter())
    assert writer.has_begun
    take(step, *(post(f"q{i}") for i in range(ranking._LEAVE_FROM_POSTS)), offset=9)
    assert writer.batches
    assert writer.has_begun


def claim(step: RankingStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the step's next turn find that its claims stand."""
    step._claim._wanted = ALL_SHARDS
    step._claim.tokens = dict.fromkeys(ALL_SHARDS, 1)
    monkeypatch.setattr(step._claim, "claim", lambda *_, **__: True)
    step.poll(KeptWriter())
    monkeypatch.undo()


def test_at_a_start_others_wait_until_the_redis_writer_has_the_feeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = started(monkeypatch)
    assert step.is_urgent
    turn_until_idle(step)
    # Ranked, and without a token: whoever ranks writes them.
    assert not step.is_urgent
    assert step.ready_for(0)
    writer = writer_of(step)
    writer.has_room = False
    claim(step, monkeypatch)
    turn(step)
    assert step.is_urgent
    assert not step.ready_for(0)
    writer.trouble = "Redis: away"
    assert not step.is_urgent
    writer.trouble, writer.has_room = "", True
    turn_until_idle(step)
    assert not step.is_urgent
    assert step.ready_for(0)


@pytest.mark.parametrize("shards", [range(32, 64), range(64)])
def test_who_joins_others_does_not_wait_for_their_feeds(
    monkeypatch: pytest.MonkeyPatch, shards: range
) -> None:
    step = started(monkeypatch)
    turn_until_idle(step)
    step.on_assigned(AssignmentChange(1, (0,), shards_gained=tuple(shards)))
    turn(step)
    assert not step._claim.is_whole
    assert step.is_urgent == (len(shards) == len(ALL_SHARDS))
    assert step.ready_for(0) != step.is_urgent


def test_others_do_not_wait_for_a_slow_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "FEEDS_FIRST_S", 0.0)
    step = started(monkeypatch)
    turn_until_idle(step)
    writer = writer_of(step)
    writer.has_room = False
    claim(step, monkeypatch)
    assert step._handover.has_feeds
    assert not step.is_urgent


def test_it_works_once_a_cycle(step: RankingStep) -> None:
    writer = writer_of(step)
    writer.has_room = False  # or nothing would be left to do
    take_post(step, "p")
    step.combiner.view.update_post(post("q"), 2, NOW_MS)
    step.background(KeptWriter(), 1.0)
    assert step.combiner.view.has_changes
    step.background(KeptWriter(), 1.0)
    assert not step.combiner.view.has_changes


def test_once_posts_come_nobody_waits_for_feeds(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = msgspec.structs.replace(post("p"), communities=("c",))
    record = FetchedRecord(1, NOW_MS, b"p", b"")
    part = PostPartition(TopicPartition("posts", 0), [(record, event)], range(1))
    step.apply(WorkBatch(NOW_MS, [part], PostBatch([event])), KeptWriter())
    claim(step, monkeypatch)
    step.combiner.rewrite_all()
    assert step._handover.has_feeds
    assert not step.is_urgent
    assert step.ready_for(0)


def test_the_feeds_of_a_cycles_posts_are_handed_over_in_that_cycle(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "_CHANGES_S", 0.0)
    monkeypatch.setattr(ranking, "_LEAST_CHANGES_S", 0.0)
    monkeypatch.setattr(ranking, "_POST_CHANGES_S", 10.0)
    communities = [f"c{i}" for i in range(20)]
    for offset, community in enumerate(communities, start=1):
        take(step, post(community, communities=(community,)), offset=offset)
    writer = writer_of(step)
    written = {feed.feed for batch in writer.batches for feed in batch.feeds if feed.entries}
    assert written >= {f"community:{name}" for name in communities}
    assert not step.combiner.has_changes


def test_posts_of_others_get_as_much_time(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[tuple[float, int]] = []
    monkeypatch.setattr(step, "_work", lambda *two: budgets.append(two))
    take(step, *(post(f"p{i}") for i in range(300)))
    step.combiner.view.update_posts([post("q")] * 9, range(300, 309), [NOW_MS] * 9)
    step.apply(WorkBatch(NOW_MS), KeptWriter())
    assert budgets == [(ranking.WORK_S + n * ranking._POST_S, n) for n in (300, 301)]


def test_posts_give_no_more_time_where_all_is_written_again(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset in range(1, 1_001):
        take(step, post(f"p{offset}"), offset=offset)
    turn_until_idle(step)
    monkeypatch.setattr(ranking, "_CHANGES_S", 0.0)
    monkeypatch.setattr(ranking, "_LEAST_CHANGES_S", 0.0)
    monkeypatch.setattr(ranking, "_POST_CHANGES_S", 10.0)
    step.combiner.rewrite_all()
    take(step, post("last"), offset=1_001)
    assert step.combiner.has_changes


def weights_of(step: RankingStep, quality: float) -> Settings:
    """The step's settings with other weights of `global`."""
    value = {"quality": quality, "engagement": 0, "half_life_hours": None}
    return settings_of(("weights/global", value), before=step.combiner.settings)


def feeds_of(step: RankingStep) -> list[list[str]]:
    """The feeds of each batch that the Redis writer has."""
    writer = writer_of(step)
    return [[change.feed for change in batch.feeds] for batch in writer.batches]


def test_settings_that_come_while_it_ranks_go_before_the_feeds_of_that_cycle(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "WORK_S", 10.0)
    take(step, post("p", communities=("c",)), offset=1)
    turn_until_idle(step)
    newest = weights_of(step, 2)
    monkeypatch.setattr(step.context.worker, "newest_settings", lambda: newest)
    take(step, post("q", communities=("c",)), offset=2)
    writer = writer_of(step)
    assert feeds_of(step) == [["global"], ["community:c"]]
    # A post's signals never come after a feed that shows it.
    assert [change.post_id for change in writer.batches[0].signals] == ["q"]
    assert [post_id for post_id, _ in writer.batches[0].feeds[0].entries] == ["q", "p"]
    step.settings_changed(newest)
    assert len(writer.batches) == 2


@pytest.mark.parametrize("reads", ["apply", "poll"])
def test_a_hide_is_written_before_the_engagement_values_of_a_storm(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    ids = [f"p{number}" for number in range(400)]
    take(step, *(post(post_id, author_id=post_id) for post_id in ids))
    turn_until_idle(step)
    writer = writer_of(step)
    submitted, submit = list[WriteBatch](), writer.submit

    def submit_and_keep(batch: WriteBatch) -> bool:
        submitted.append(batch)
        return bool(submit(batch))

    monkeypatch.setattr(writer, "submit", submit_and_keep)
    hide = override("hide")

    def read_overrides(*_: Any) -> tuple[int, list[Any]]:
        step.combiner.view.update_override(OverrideKey("post", "p300", "*"), hide)
        monkeypatch.setattr(step._logs, "read_overrides", lambda *_: (0, []))
        return 1, []

    engaged = [
        WrittenSignal("engagement", post_id, signal(post_id, at, 0.9, revision=1))
        for at, post_id in enumerate(ids, start=1)
    ]
    monkeypatch.setattr(step._logs, "read_overrides", read_overrides)
    # While the writer has no room it is waited for.
    writer.has_room = False
    if reads == "apply":
        step.apply(WorkBatch(NOW_MS, signals=engaged), KeptWriter())
    else:
        step.combiner.view.update_written(engaged)
        step.poll(KeptWriter())
        assert writer.has_begun
        turn_until_idle(step)
    first, *others = submitted
    assert [one.post_id for one in first.signals] == ["p300"]
    assert [(one.feed, one.removed) for one in first.feeds] == [("global", ["p300"])]
    assert {one.post_id for batch in others for one in batch.signals} >= {*ids} - {"p300"}


def test_new_settings_are_handed_over_once_the_redis_writer_has_room(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "WORK_S", 10.0)
    take(step, post("p"), offset=1)
    turn_until_idle(step)
    writer = writer_of(step)
    writer.has_room = False
    step.settings_changed(weights_of(step, 2))
    assert feeds_of(step) == [["global"]]


def take(step: RankingStep, *events: Post, offset: int = 1) -> None:
    """Have the step apply a cycle with posts, that all models judged."""
    taken = [
        (FetchedRecord(at, NOW_MS, event.post_id.encode(), b""), event)
        for at, event in enumerate(events, start=offset)
    ]
    part = PostPartition(TopicPartition("posts", 0), taken, range(offset, offset + len(taken)))
    signals = [
        WrittenSignal(name, event.post_id, signal(event.post_id, record.offset, 0.1))
        for record, event in taken
        for name in NAMES.all
    ]
    work = WorkBatch(NOW_MS, [part], PostBatch(list(events)), signals=signals)
    step.apply(work, KeptWriter())


def test_feeds_are_renewed_some_seconds_after_they_were_written(
    step: RankingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_post(step, "p")
    turn_until_idle(step)
    writer = writer_of(step)

    def renewed(after_s: float, start_s: float = time.monotonic()) -> list[str]:
        clock = SimpleNamespace(monotonic=lambda: start_s + after_s, perf_counter=lambda: 0.0)
        monkeypatch.setattr(redis_handover, "time", clock)
        writer.batches.clear()
        step._handover.renew()
        return [feed.feed for batch in writer.batches for feed in batch.feeds]

    feeds = list(step.combiner.feeds)
    assert len(feeds) == 2
    # Nothing has called them fresh yet: no stage was ready when they were written.
    assert renewed(0.0) == feeds
    assert step._handover.stale_feeds == 2
    assert renewed(4.9) == []
    assert renewed(5.1) == feeds
    for name in (*NAMES.all, "combiner"):
        beat = Instance(name, "", "h", 1, "b", -1, (), {}, ready=True, lag=0, at_ms=NOW_MS)
        read = tuple(PartitionLag(t, p, 0) for t in ("posts", "engagements") for p in range(4))
        step.heartbeat(msgspec.structs.replace(beat, group="worker", partitions=read), NOW_MS)
    step._tick_at = 0.0
    step.background(KeptWriter(), 0.01)
    assert renewed(5.2) == feeds
    assert writer.batches[-1].fresh_feeds == set(feeds)
    assert step._handover.stale_feeds == 0
    take_post(step, "q")
    assert writer.batches[-1].fresh_feeds == set(feeds)
    assert renewed(10.1) == []


def test_no_slice_is_begun_that_would_take_far_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def slices(slice_s: float) -> int:
        now_s = count = 0.0
        monkeypatch.setattr(ranking, "time", SimpleNamespace(thread_time=lambda: now_s))
        has_time = ranking._for_slices(0.007)
        while True:
            now_s, count = now_s + slice_s, count + 1
            if not has_time():
                return int(count)

    assert [slices(s) for s in (0.001, 0.003, 0.004, 0.006, 0.02)] == [7, 3, 2, 1, 1]


def test_the_processor_time_is_asked_for_once_so_much_time_went_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, used, asked = [50.0], [3.0], []

    def thread_time() -> float:
        asked.append(clock[0])
        return used[0]

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "thread_time", thread_time)
    has_time = ranking._for(0.008)
    clock[0] += 0.007
    assert has_time()
    assert len(asked) == 1
    clock[0] += 5.0
    used[0] += 0.007
    assert has_time()
    used[0] += 0.002
    assert not has_time()
    assert len(asked) == 3
