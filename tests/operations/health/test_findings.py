"""What is wrong with an engine, by what was seen of it: a table of states and findings."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

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
    """The heartbeats of a worker that is well, but for what is given."""
    one = Instance(
        *("", name, "host-1", 7, "0.2", -1, (), {}, True, 0, NOW_MS - age_ms),
        group="worker",
        partitions=lags(*partitions),
    )
    one = msgspec.structs.replace(one, **more)
    return tuple(
        Beat(NOW_MS - age_ms, msgspec.structs.replace(one, stage=stage)) for stage in stages
    )


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
BUT_SPAM = worker("one", 0, 1, 2, 3, stages=STAGES[1:])
AN_HOUR_LATE = (PartitionLag("posts", 3, 0), PartitionLag("engagements", 3, 900, 3_600_000))


def one_worker(**more: Any) -> Seen:
    """An engine of one worker that is well, but for what is given."""
    return seen(*worker("one", 0, 1, 2, 3, **more))


# What was seen; of the first finding severity, topic, partitions and instance, words of it, and
# words of its way out.
Case = tuple[Seen, tuple[str, str, tuple[int, ...], str], str, str]
CASES: dict[str, Case] = {
    "engagements an hour behind": (
        seen(*worker("one", 0, 1, 2), *worker("two", 3, partitions=AN_HOUR_LATE)),
        ("wrong", "engagements", (3,), "two"),
        "engagements[3]: two is 60 min behind, 900 records",
        "feedmill latency",
    ),
    "a transaction holds back": (
        held_back(),
        ("wrong", "posts", (2, 3), "two"),
        "posts[2-3]: two is 40 s behind, 10 records, held back by a transaction",
        "abort-hanging",
    ),
    "a stage that nobody runs": (
        seen(*BUT_SPAM),
        ("wrong", "posts", (0, 1, 2, 3), ""),
        "posts[0-3] for spam: nobody reads it",
        "feedmill worker",
    ),
    "a judge of some partitions is silent": (
        seen(
            *(*BUT_SPAM, *worker("judge-1", 0, 1, stages=("spam",))),
            *worker("judge-2", 2, 3, stages=("spam",), age_ms=50_000),
            waiting={("posts", 2): 4, ("posts", 3): 5},
        ),
        ("wrong", "posts", (2, 3), "judge-2"),
        "posts[2-3] for spam: judge-2 (pid 7 on host-1) has been silent for 50 s, and nobody else"
        " reads it; 9 records wait",
        "on host-1 see whether pid 7 lives",
    ),
    "one of two workers is stopped": (
        seen(*worker("one", 0, 1), *worker("two", 2, 3, age_ms=14_000)),
        ("wrong", "posts", (2, 3), "two"),
        "posts[2-3]: two (pid 7 on host-1) has been silent for 14 s",
        "start it again",
    ),
    "others took over from it": (
        seen(*ALL, *worker("two", 2, 3, age_ms=40_000)),
        ("warn", "posts", (2, 3), "two"),
        "silent for 40 s; others read posts[2-3], engagements[2-3], which it had",
        "if it stands still, kill it",
    ),
    "a worker that is not ready": (
        one_worker(ready=False, reason="catching up, 9 records to go"),
        ("wrong", "posts", (0, 1, 2, 3), "one"),
        "posts[0-3]: one is not ready: catching up, 9 records to go",
        "operator.md#recovery",
    ),
    "one that has no partitions yet": (
        seen(*ALL, *worker("two", ready=False, reason="waiting for partitions")),
        ("warn", "", (), "two"),
        "two is not ready: waiting for partitions",
        "operator.md#recovery",
    ),
    "nothing runs": (
        seen(),
        ("wrong", "", (), ""),
        "no worker has reported in the last hour",
        "feedmill worker",
    ),
    "a program of one's own is dead": (
        with_own(*program(age_ms=60_000)),
        ("wrong", "signals.novelty", (0, 1, 2, 3), "app"),
        "signals.novelty[0-3]: app (pid 7 on host-1) has been silent for 60 s, and nobody writes",
        "docs/own_signals.md",
    ),
    "it never ran": (
        with_own(),
        ("wrong", "signals.novelty", (0, 1, 2, 3), ""),
        "signals.novelty[0-3]: no program writes it",
        "docs/own_signals.md",
    ),
    "it answers nothing": (
        with_own(*program(), unanswered={("novelty", 2): 3}),
        ("wrong", "signals.novelty", (2,), "app"),
        "signals.novelty[2]: 3 of the newest posts have none after 5 s; app (pid 7 on host-1)",
        "docs/own_signals.md",
    ),
    "feeds are stale": (
        seen(*ALL, feeds=(feed("lang:de"), feed(fresh_for_ms=-90_000))),
        ("wrong", "", (), ""),
        "1 of 2 feeds are stale, global, for up to 90 s",
        "the worker that ranks",
    ),
    "Redis has nothing": (
        seen(*ALL, feeds=()),
        ("wrong", "", (), ""),
        "Redis has no feed",
        "the worker that ranks",
    ),
    "Redis is full": (
        replace(well(), redis=RedisState((feed(),), 95, 100)),
        ("warn", "", (), ""),
        "Redis is nearly full: 95% of its maxmemory",
        "raise maxmemory",
    ),
    "Kafka is away": (
        replace(well(), kafka=None, kafka_trouble=Trouble("Kafka at x: away", "start it")),
        ("wrong", "", (), ""),
        "Kafka at x: away",
        "start it",
    ),
    "Redis is away": (
        replace(well(), redis=None, redis_trouble=Trouble("Redis at x: away", "start it")),
        ("wrong", "", (), ""),
        "Redis at x: away",
        "start it",
    ),
    "the broker's clock jumped": (
        one_worker(at_ms=NOW_MS - 7_200_000),
        ("wrong", "", (), ""),
        "the broker's clock is 119 min ahead of the time of the workers",
        "restart all workers",
    ),
    "builds differ": (
        seen(*worker("one", 0, 1), *worker("two", 2, 3, build="0.3")),
        ("warn", "", (), ""),
        "workers of different builds run: 0.2, 0.3",
        "end the upgrade",
    ),
    "a setting is refused and still the last": (
        refused_setting(9),
        ("warn", "config", (0,), "one"),
        "the setting weights at offset 9 is refused: no such signal",
        "feedmill config",
    ),
    "Redis refused writes": (
        seen(
            *(
                replace(beat, refused_writes=12 * (beat.instance.stage == "combiner"))
                for beat in ALL
            )
        ),
        ("warn", "", (), "one"),
        "in the last minute Redis refused 12 writes of one",
        "--redis-prefix",
    ),
    "a release is refused": (
        one_worker(refused_releases=(RefusedRelease("spam", 3, "too slow"),)),
        ("warn", "models", (0,), "one"),
        "the release of spam is refused: too slow",
        "feedmill models health",
    ),
    "a release waits": (
        one_worker(waiting_releases=(RefusedRelease("spam", 3, "no answer"),)),
        ("warn", "models", (0,), "one"),
        "the release of spam waits for the store: no answer",
        "feedmill models health",
    ),
    "a source is capped": (
        seen(
            *BUT_SPAM,
            *worker(
                "one", 0, 1, 2, 3, stages=("spam",), capped_sources=("lang:de",), capped_count=3
            ),
        ),
        ("warn", "", (), "one"),
        "spam would hide too much of lang:de and 2 more, and demotes there",
        "operator.md#alarms",
    ),
    "a model drifts": (
        seen(*ALL, *worker("w", stages=("watch",), group="", drift=(DRIFT,))),
        ("warn", "", (), ""),
        "scores of spam drifts: the mean moved",
        "feedmill models health",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_with_place_and_way_out(name: str) -> None:
    state, place, what, way_out = CASES[name]
    found = findings(state)
    first = found[0]
    assert (first.severity, first.topic, first.partitions, first.instance) == place
    assert what in first.what
    assert way_out in first.way_out
    # What is only to be looked at is no fault.
    assert place[0] == "wrong" or [one.severity for one in found] == ["warn"]


@pytest.mark.parametrize(
    "state",
    [
        well(),
        with_own(*program()),
        # A setting that a later one replaced.
        refused_setting(10),
        # A stage that no feed needs.
        seen(*BUT_SPAM, feeds=(feed(stages=BUILT_IN - {"spam"}),)),
        # One that ended long ago without a word.
        seen(*ALL, *worker("two", 2, 3, age_ms=700_000)),
    ],
)
def test_a_healthy_engine_has_no_findings(state: Seen) -> None:
    assert findings(state) == []


def test_what_is_wrong_stands_on_top() -> None:
    state = seen(
        *worker("one", 0, 1, refused_releases=(RefusedRelease("spam", 3, "slow"),)),
        *worker("two", 2, 3, age_ms=30_000),
        feeds=(feed(fresh_for_ms=-9_000),),
    )
    found = findings(state)
    assert [one.severity for one in found] == ["wrong", "wrong", "wrong", "warn"]
    assert [one.topic for one in found] == ["posts", "engagements", "", "models"]
    assert found[2].way_out == "mend what is named above"


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
