"""What is wrong with an engine, by what was seen of it: a table of states and findings."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from builders.golden import Golden
from feedmill.events.instance import (
    Instance,
    ModelDrift,
    PartitionLag,
    RefusedRelease,
    RefusedSetting,
)
from feedmill.events.signal import SignalNames
from feedmill.operations.health.findings import Finding, findings, ranges, seconds
from feedmill.operations.health.seen import (
    Beat,
    FeedState,
    KafkaState,
    RedisState,
    Seen,
    Trouble,
)

NOW_MS = 1_790_000_000_000
STAGES = ("spam", "nsfw", "misinformation", "quality", "engagement", "combiner")
OWN = replace(SignalNames(), objectives=("quality", "engagement", "novelty"))
BUILT_IN = frozenset(STAGES[:-1])


def lags(
    *partitions: int, late_ms: int = 0, lag: int = 0, why: str = ""
) -> tuple[PartitionLag, ...]:
    return tuple(
        PartitionLag(topic, partition, lag, late_ms, why)
        for topic in ("posts", "engagements")
        for partition in partitions
    )


def worker(
    name: str, *partitions: int, stages: tuple[str, ...] = STAGES, age_ms: int = 1_000, **more: Any
) -> tuple[Beat, ...]:
    """The heartbeats of a worker that is well, but for what is given; 16 shards a partition."""
    one = Instance(
        *("", name, "host-1", 7, "0.2", -1, (), {}, True, 0, NOW_MS - age_ms),
        group="worker",
        partitions=lags(*partitions),
    )
    shards = tuple(16 * partition + n for partition in partitions for n in range(16))
    beats = {stage: msgspec.structs.replace(one, stage=stage) for stage in stages}
    if "combiner" in beats:
        beats["combiner"] = msgspec.structs.replace(beats["combiner"], shards=shards)
    replaced = (msgspec.structs.replace(beat, **more) for beat in beats.values())
    return tuple(Beat(NOW_MS - age_ms, beat) for beat in replaced)


def ranker(name: str, *parts: int, **more: Any) -> tuple[Beat, ...]:
    """The heartbeat of a worker that only ranks; of 16 shards each part."""
    return worker(name, *parts, stages=("combiner",), partitions=(), **more)


def program(age_ms: int = 1_000, **more: Any) -> tuple[Beat, ...]:
    """The heartbeat of a program of one's own."""
    return worker("app", stages=("novelty",), age_ms=age_ms, group="", **more)


def feed(
    name: str = "global", fresh_for_ms: int = 9_000, stages: frozenset[str] = BUILT_IN
) -> FeedState:
    return FeedState(name, "fresh" if fresh_for_ms >= 0 else "stale", fresh_for_ms, stages)


def seen(*beats: Beat, feeds: tuple[FeedState, ...] = (feed(),), **kafka: Any) -> Seen:
    """An engine with four partitions."""
    state = KafkaState(NOW_MS, beats, 4, **kafka)
    return Seen(SignalNames(), state, RedisState(feeds, 1_000, 0))


def well() -> Seen:
    return seen(*worker("one", 0, 1), *worker("two", 2, 3))


LACKING = {("novelty", 2): 3}


def with_own(*beats: Beat, **kafka: Any) -> Seen:
    """An engine whose feeds need a signal of one's own."""
    needs = (feed(stages=BUILT_IN | {"novelty"}),)
    return replace(seen(*worker("one", 0, 1, 2, 3), *beats, feeds=needs, **kafka), names=OWN)


def refused_setting(last: int) -> Seen:
    """One refused the setting at offset 9; the last one of its key stands at `last`."""
    refused = (RefusedSetting("weights", 9, "no such signal"),)
    return seen(*worker("one", 0, 1, 2, 3, refused=refused), settings={"weights": last})


def held_back() -> Seen:
    late = lags(2, 3, late_ms=40_000, lag=5, why="held back by a transaction that does not end")
    return seen(*worker("one", 0, 1), *worker("two", 2, 3, partitions=late))


DRIFT = ModelDrift("spam", "v", "scores", "drift", 900, 0.4, 0.2, "the mean moved")
ALL = worker("one", 0, 1, 2, 3)
JUDGE = worker("judge", 0, 1, 2, 3, stages=STAGES[:-1])
BUT_SPAM = worker("one", 0, 1, 2, 3, stages=STAGES[1:])
AN_HOUR_LATE = (PartitionLag("posts", 3, 0), PartitionLag("engagements", 3, 900, 3_600_000))


def one_worker(**more: Any) -> Seen:
    """An engine of one worker that is well, but for what is given."""
    return seen(*worker("one", 0, 1, 2, 3, **more))


# By what was seen; `findings.txt` has what is found.
CASES: dict[str, Seen] = {
    "engagements an hour behind": seen(
        *worker("one", 0, 1, 2), *worker("two", 3, partitions=AN_HOUR_LATE)
    ),
    "a transaction holds back": held_back(),
    "a stage that nobody runs": seen(*BUT_SPAM),
    "a judge of some partitions is silent": seen(
        *(*BUT_SPAM, *worker("judge-1", 0, 1, stages=("spam",))),
        *worker("judge-2", 2, 3, stages=("spam",), age_ms=50_000),
        waiting={("posts", 2): 4, ("posts", 3): 5},
    ),
    "one of two workers is stopped": seen(
        *worker("one", 0, 1), *worker("two", 2, 3, age_ms=14_000)
    ),
    "a ranker is stopped": seen(*JUDGE, *ranker("r1", 0, 2), *ranker("r2", 1, 3, age_ms=13_000)),
    "another took over from it": seen(
        *JUDGE, *ranker("r1", 0, 1, 2, 3), *ranker("r2", 1, 3, age_ms=30_000)
    ),
    "a ranker restores": seen(*JUDGE, *ranker("r1", ready=False, reason="reading posts, 5 of 9")),
    "a member that is no worker has shards": seen(*JUDGE, *ranker("r1", 0, 1, 2)),
    "nobody ranks": seen(*JUDGE),
    "others took over from it": seen(*ALL, *worker("two", 2, 3, age_ms=40_000)),
    "a worker that is not ready": one_worker(ready=False, reason="catching up, 9 records to go"),
    "one that has no partitions yet": seen(
        *ALL, *worker("two", ready=False, reason="waiting for partitions")
    ),
    "nothing runs": seen(),
    "a program of one's own is dead": with_own(*program(age_ms=60_000), unanswered=LACKING),
    "it never ran": with_own(unanswered=LACKING),
    "it is silent, and no post lacks its signal": with_own(*program(age_ms=60_000)),
    "it answers nothing": with_own(*program(), unanswered=LACKING),
    "feeds are stale": seen(*ALL, feeds=(feed("lang:de"), feed(fresh_for_ms=-90_000))),
    "Redis has nothing": seen(*ALL, feeds=()),
    "Redis is full": replace(well(), redis=RedisState((feed(),), 95, 100)),
    "Kafka is away": replace(
        well(), kafka=None, kafka_trouble=Trouble("Kafka at x: away", "start it")
    ),
    "Redis is away": replace(
        well(), redis=None, redis_trouble=Trouble("Redis at x: away", "start it")
    ),
    "the broker's clock jumped": one_worker(at_ms=NOW_MS - 7_200_000),
    "builds differ": seen(*worker("one", 0, 1), *worker("two", 2, 3, build="0.3")),
    "a setting is refused and still the last": refused_setting(9),
    "records are refused": seen(*ALL, rejected={"posts": 1_031, "engagements": 1}),
    "Redis refused writes": seen(
        *(replace(beat, refused_writes=12 * (beat.instance.stage == "combiner")) for beat in ALL)
    ),
    "a release is refused": one_worker(refused_releases=(RefusedRelease("spam", 3, "too slow"),)),
    "a release waits": one_worker(waiting_releases=(RefusedRelease("spam", 3, "no answer"),)),
    "versions differ": seen(
        *worker("one", 0, 1, models={"spam": "1" * 12}, models_offset=7),
        *worker("two", 2, 3, models={"spam": "2" * 12}, models_offset=7),
    ),
    "a source is capped": seen(
        *BUT_SPAM,
        *worker("one", 0, 1, 2, 3, stages=("spam",), capped_sources=("lang:de",), capped_count=3),
    ),
    "a model drifts": seen(*ALL, *worker("w", stages=("watch",), group="", drift=(DRIFT,))),
    "a silent worker, stale feeds and a refused release": seen(
        *worker("one", 0, 1, refused_releases=(RefusedRelease("spam", 3, "slow"),)),
        *worker("two", 2, 3, age_ms=30_000),
        feeds=(feed(fresh_for_ms=-9_000),),
    ),
}


def test_what_is_wrong_is_named_with_place_and_way_out(golden: Golden) -> None:
    lines = []
    for name, state in CASES.items():
        found = findings(state)
        # What is wrong stands on top; what is only to be looked at is no fault.
        assert [one.severity for one in found] == sorted((o.severity for o in found), reverse=True)
        lines += [f"## {name}"]
        for one in found:
            place = f"{one.topic}{ranges(list(one.partitions)) if one.partitions else ''}"
            lines += [f"{one.severity} {place} {one.instance}".rstrip(), f"    {one.what}"]
            lines += [f"    -> {one.way_out}"]
    golden.check("findings.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "state",
    [
        well(),
        with_own(*program()),
        # It writes no heartbeats.
        with_own(),
        # A judge and two rankers, which read no partition of posts as a group does.
        seen(*JUDGE, *ranker("r1", 0, 1), *ranker("r2", 2, 3)),
        # A setting that a later one replaced.
        refused_setting(10),
        # A stage that no feed needs.
        seen(*BUT_SPAM, feeds=(feed(stages=BUILT_IN - {"spam"}),)),
        # A release that one still loads.
        seen(
            *worker("one", 0, 1, models={"spam": "1" * 12}, models_offset=6),
            *worker("two", 2, 3, models={"spam": "2" * 12}, models_offset=7),
        ),
        # One that ended long ago without a word.
        seen(*ALL, *worker("two", 2, 3, age_ms=700_000)),
    ],
)
def test_a_healthy_engine_has_no_findings(state: Seen) -> None:
    assert findings(state) == []


def test_a_finding_as_json_has_its_place() -> None:
    assert Finding("wrong", "w", "o", "posts", (2, 3), "two").as_dict() == {
        "severity": "wrong",
        "what": "w",
        "topic": "posts",
        "partitions": [2, 3],
        "instance": "two",
        "way_out": "o",
    }


def test_partitions_and_times_are_written_as_people_read_them() -> None:
    assert ranges([3, 0, 1, 7, 2]) == "[0-3, 7]"
    assert ranges([5]) == "[5]"
    assert [seconds(ms) for ms in (500, 119_000, 120_000, 7_200_000)] == [
        *("0 s", "119 s", "2 min", "2 h")
    ]
