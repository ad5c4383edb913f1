"""Which feeds count as fresh, by the heartbeats of all stages, and when each is renewed."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from builders.events import NOW_MS, settings_of
from feedmill.events.instance import Instance, PartitionLag
from feedmill.rankers.combiner import FeedChange
from feedmill.streams.ranking import feed_freshness
from feedmill.streams.ranking.feed_freshness import (
    LOOK_EVERY_S,
    SEEN_WITHIN_MS,
    FeedFreshness,
    FeedRenewals,
)

STAGES = ("spam", "nsfw", "misinformation", "quality", "engagement")
PARTITIONS = 3
BOTH = ("posts", "engagements")


def beat(
    stage: str,
    instance: str = "one",
    *,
    late: Collection[tuple[str, int]] = (),
    owned: Collection[int] = range(PARTITIONS),
    ready: bool = True,
    group: str = "worker",
) -> Instance:
    partitions = tuple(
        PartitionLag(topic, p, 9 if (topic, p) in late else 0, 6_000 if (topic, p) in late else 0)
        for topic in BOTH
        for p in owned
    )
    return Instance(
        stage,
        instance,
        "host",
        1,
        "build",
        -1,
        (),
        {},
        ready=ready,
        lag=0,
        at_ms=NOW_MS,
        group=group,
        partitions=partitions,
    )


def feed(**weights: Any) -> FeedChange:
    """A feed under the default gates and these weights."""
    settings = settings_of(("weights", weights) if weights else ("weights", None))
    gates = settings.gates_of("global")
    return FeedChange("global", False, (), (), 0, settings.weights_of("global"), gates, 0)


class Ranker:
    """All stages in one worker but for those that a test takes over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.freshness = FeedFreshness(PARTITIONS, "one", own=("novelty",))
        self.broker_ms, self.now_s = NOW_MS, 77.0
        clock = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(feed_freshness, "time", clock)

    def wait(self, ms: int) -> None:
        self.broker_ms += ms
        self.now_s += ms / 1000

    def beats(self, *instances: Instance) -> None:
        said = {one.stage for one in instances}
        rest = [beat(stage) for stage in (*STAGES, "combiner") if stage not in said]
        for one in (*instances, *rest):
            self.freshness.heartbeat(one, self.broker_ms)

    def is_fresh(self, change: FeedChange | None = None, lacking: Collection[str] = ()) -> bool:
        self.freshness.look(lacking)
        return self.freshness.is_fresh(change or feed())


@pytest.fixture
def ranker(monkeypatch: pytest.MonkeyPatch) -> Ranker:
    return Ranker(monkeypatch)


def test_a_feed_is_fresh_once_all_partitions_are_read_by_all_that_it_depends_on(
    ranker: Ranker,
) -> None:
    assert not ranker.is_fresh()
    ranker.beats()
    assert ranker.is_fresh()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "wrong", [{"late": [("posts", 2)]}, {"owned": range(PARTITIONS - 1)}, {"ready": False}]
)
def test_one_partition_without_a_judge_that_is_up_to_date_makes_it_stale(
    ranker: Ranker, stage: str, wrong: dict[str, Any]
) -> None:
    ranker.beats(beat(stage, **wrong))
    assert not ranker.is_fresh()
    # Another instance takes over what is missing.
    ranker.beats(beat(stage, **wrong), beat(stage, "two"))
    assert ranker.is_fresh()


def test_an_arm_is_stale_by_itself_and_a_feed_is_fresh_if_all_its_lists_are(ranker: Ranker) -> None:
    no_costs = {"hide": 0, "report": 0}
    own, arm = feed(quality=1, engagement=0, costs=no_costs), feed(quality=1, engagement=1)
    change = replace(own, arms=[replace(arm, feed="one.b"), replace(own, feed="one.c")])
    ranker.beats(beat("engagement", ready=False))
    ranker.freshness.look()
    lists = {"global", "global:arm:one.c"}
    assert ranker.freshness.fresh_of([change]) == (lists, set())
    ranker.beats()
    ranker.freshness.look()
    assert ranker.freshness.fresh_of([change]) == (lists | {"global:arm:one.b"}, {"global"})


def test_late_engagements_concern_feeds_that_weigh_them(ranker: Ranker) -> None:
    ranker.beats(*(beat(stage, late=[("engagements", 1)]) for stage in STAGES))
    assert not ranker.is_fresh()
    assert ranker.freshness.unread("engagement") == [("engagements", 1)]
    no_costs = {"hide": 0, "report": 0}
    assert ranker.is_fresh(feed(quality=1.0, engagement=0.0, costs=no_costs))
    # The stage writes the costs too.
    assert not ranker.is_fresh(feed(quality=1.0, engagement=0.0))


def test_two_workers_share_the_partitions(ranker: Ranker) -> None:
    halves = [beat("spam", "one", owned=[0]), beat("spam", "two", owned=[1, 2])]
    ranker.beats(*halves)
    assert ranker.is_fresh()
    # One of them is stopped: its last heartbeat holds for a while.
    ranker.wait(SEEN_WITHIN_MS)
    ranker.beats(halves[0])
    assert ranker.is_fresh()
    ranker.wait(1)
    ranker.beats(halves[0])
    assert not ranker.is_fresh()
    assert ranker.freshness.unread("spam") == [("posts", 1), ("posts", 2)]


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
def test_a_broker_whose_clock_jumps_hides_nobody_and_shows_nobody(
    ranker: Ranker, jump_ms: int
) -> None:
    ranker.beats(beat("spam", "two"))
    ranker.broker_ms += jump_ms
    # One stage is silent since.
    for stage in (*STAGES[1:], "combiner"):
        ranker.freshness.heartbeat(beat(stage), ranker.broker_ms)
    assert not ranker.is_fresh()
    ranker.beats()
    assert ranker.is_fresh()


def test_the_worker_that_ranks_must_be_ready_itself(ranker: Ranker) -> None:
    ranker.beats(beat("combiner", ready=False))
    ranker.freshness.heartbeat(beat("combiner", "two"), NOW_MS)
    assert not ranker.is_fresh()


def test_a_signal_of_a_program_counts_while_no_post_lacks_it(ranker: Ranker) -> None:
    """Whatever heartbeats say, and whether there are any."""
    change = feed()
    change = replace(change, gates={**change.gates, "novelty": change.gates["spam"]})
    ranker.beats()
    assert ranker.is_fresh(change)
    ranker.beats(beat("novelty", "app", owned=[], group="", ready=False))
    assert ranker.is_fresh(change)
    assert not ranker.is_fresh(change, lacking=["novelty"])


def test_a_heartbeat_without_a_group_proves_nothing_of_a_worker(ranker: Ranker) -> None:
    ranker.beats(beat("spam", late=[("posts", 0)]), beat("spam", "liar", group=""))
    assert not ranker.is_fresh()
    ranker.freshness.heartbeat(beat("spam", "liar", owned=[], group=""), ranker.broker_ms)
    assert not ranker.is_fresh()


def test_it_says_when_a_stage_is_up_to_date_again(ranker: Ranker) -> None:
    ranker.beats()
    assert ranker.freshness.look()
    assert not ranker.freshness.look()
    ranker.beats(beat("spam", late=[("posts", 0)]))
    assert not ranker.freshness.look()
    ranker.beats()
    assert ranker.freshness.look()


# --- renewals: one after the other, and not where a feed was written anyway -----------------


def test_each_feed_is_renewed_in_time_and_few_at_once() -> None:
    feeds = [f"f{n}" for n in range(1000)]
    renewals = FeedRenewals()
    # All were written at a start.
    renewals.written(feeds, 100.0)
    latest, sizes = dict.fromkeys(feeds, 100.0), []
    for turn in range(200):
        now_s = 100.0 + turn * LOOK_EVERY_S
        due = renewals.due(feeds, now_s)
        renewals.written(due, now_s)
        latest |= dict.fromkeys(due, now_s)
        sizes.append(len(due))
        assert min(latest.values()) >= now_s - 8.0
    assert max(sizes) == 80
    assert sum(sizes) > 5 * len(feeds)


def test_what_was_written_is_not_renewed() -> None:
    renewals = FeedRenewals()
    renewals.written(["a", "b"], 10.0)
    renewals.written(["a"], 14.0)
    assert renewals.due(["a", "b", "new"], 15.5) == ["b", "new"]
    # Names that are feeds no more are forgotten.
    assert renewals.due(["a"], 15.5) == []
    assert renewals.due(["a", "b"], 15.5) == ["b"]


def test_all_are_due_at_once_when_more_may_be_fresh() -> None:
    feeds = [f"f{n}" for n in range(60)]
    renewals = FeedRenewals()
    renewals.written(feeds, 10.0)
    assert renewals.due(feeds, 10.0) == []
    renewals.hurry()
    found = []
    while renewals.is_hurried:
        due = renewals.due(feeds, 10.0)
        renewals.written(due, 10.0)
        found += due
    assert found == feeds
