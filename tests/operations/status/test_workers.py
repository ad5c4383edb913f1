"""What is wrong with an engine, by what is known of it: a table of states and findings."""

import importlib.metadata
from dataclasses import replace
from types import SimpleNamespace
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
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.health import HEALTH_CHECKS, health_of
from feedmill.operations.status.heartbeats import Beat, Running, next_beat
from feedmill.operations.status.installation import FeedState, Installation, examine
from feedmill.operations.worker_groups import Group
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.dead_letters import LetterHead, RejectedAt
from feedmill.streams.kafka.offsets import Bounds
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.config_log import fold_log

NOW_MS = 1_790_000_000_000
BUILD = importlib.metadata.version("feedmill")
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
        *("", name, "host-1", 7, BUILD, -1, (), {}, True, 0, NOW_MS - age_ms),
        group="worker",
        partitions=lags(*partitions),
    )
    shards = tuple(16 * partition + n for partition in partitions for n in range(16))
    beats = {stage: msgspec.structs.replace(one, stage=stage) for stage in stages}
    if "combiner" in beats:
        beats["combiner"] = msgspec.structs.replace(beats["combiner"], shards=shards)
    replaced = (msgspec.structs.replace(beat, **more) for beat in beats.values())
    return tuple(steady(one, age_ms) for one in replaced)


def steady(one: Instance, age_ms: int) -> Beat:
    """The last beat of an instance that has been there for long."""
    before_ms = NOW_MS - age_ms - 30_000
    before = msgspec.structs.replace(one, ready=True, reason="", refused_writes=0)
    beat = Beat(before_ms, before, recent=((before_ms, before),))
    return replace(next_beat(beat, one, NOW_MS - age_ms), unsettled_ms=0)


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


def seen(
    *beats: Beat,
    feeds: tuple[FeedState, ...] = (feed(),),
    names: SignalNames | None = None,
    redis_bytes: int = 95,
    **known: Any,
) -> Installation:
    """An engine with four partitions, by what it would answer."""
    environment = Environment(signals=names or SignalNames())
    inst = Installation(environment, {}, lambda: NOW_MS)
    info = {"used_memory": redis_bytes, "maxmemory": 1000}
    client = SimpleNamespace(scan=lambda *_: (0, ["other.feed:{global}:info"]))
    counts = dict.fromkeys(inst.table, 4)
    answers = {
        **{"running": Running(NOW_MS, beats), "feeds": feeds, "counts": counts, "letters": ()},
        **{"groups": {}, "bounds": {}, "unanswered": {}, "config": fold_log([], OWN)},
        **{
            "redis_nodes": [
                SimpleNamespace(address="redis://x", info=info, client=client, command=str)
            ]
        },
        **{"releases": [TopicRecord(3, 0, b"spam", None)]},
    }
    vars(inst).update(answers | known)
    return inst


def well() -> Installation:
    return seen(*worker("one", 0, 1), *worker("two", 2, 3))


LACKING = {("novelty", 2): 3}


def with_own(*beats: Beat, **known: Any) -> Installation:
    """An engine whose feeds need a signal of one's own."""
    needs = (feed(stages=BUILT_IN | {"novelty"}),)
    return seen(*worker("one", 0, 1, 2, 3), *beats, feeds=needs, names=OWN, **known)


def refused_setting(last: int) -> Installation:
    """One refused the setting at offset 9; the last one of its key stands at `last`."""
    refused = (RefusedSetting("weights", 9, "no such signal"),)
    log = fold_log([TopicRecord(last, 0, b"weights", b"{}")], OWN)
    return seen(*worker("one", 0, 1, 2, 3, refused=refused), config=log)


def waiting(**posts: int) -> dict[str, Any]:
    """So many posts of a partition wait for the group."""
    at = {TopicPartition("posts", int(name[1:])): count for name, count in posts.items()}
    group = Group("Stable", (), dict.fromkeys(at, 0), ())
    return {"groups": {"worker": group}, "bounds": {p: Bounds(0, n) for p, n in at.items()}}


def letter(topic: str, records: int) -> LetterHead:
    return LetterHead(8, NOW_MS, RejectedAt(topic, 0, 1), "", "bad", False, False, records)


def held_back() -> Installation:
    late = lags(2, 3, late_ms=40_000, lag=5, why="held back by a transaction that does not end")
    return seen(*worker("one", 0, 1), *worker("two", 2, 3, partitions=late))


DRIFT = ModelDrift("spam", "v", "scores", "drift", 900, 0.4, 0.2, "the mean moved")
ALL = worker("one", 0, 1, 2, 3)
JUDGE = worker("judge", 0, 1, 2, 3, stages=STAGES[:-1])
BUT_SPAM = worker("one", 0, 1, 2, 3, stages=STAGES[1:])
AN_HOUR_LATE = (PartitionLag("posts", 3, 0), PartitionLag("engagements", 3, 900, 3_600_000))


def one_worker(**more: Any) -> Installation:
    """An engine of one worker that is well, but for what is given."""
    return seen(*worker("one", 0, 1, 2, 3, **more))


# By what was seen; `findings.txt` has what is found.
CASES: dict[str, Installation] = {
    "engagements an hour behind": seen(
        *worker("one", 0, 1, 2), *worker("two", 3, partitions=AN_HOUR_LATE)
    ),
    "a transaction holds back": held_back(),
    "a stage that nobody runs": seen(*BUT_SPAM),
    "a judge of some partitions is silent": seen(
        *(*BUT_SPAM, *worker("judge-1", 0, 1, stages=("spam",))),
        *worker("judge-2", 2, 3, stages=("spam",), age_ms=50_000),
        **waiting(p2=4, p3=5),
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
    "Redis is full": seen(*ALL, redis_bytes=900),
    "the broker's clock jumped": one_worker(at_ms=NOW_MS - 7_200_000),
    "builds differ": seen(*worker("one", 0, 1), *worker("two", 2, 3, build="0.3")),
    "a setting is refused and still the last": refused_setting(9),
    "records are refused": seen(*ALL, letters=[letter("engagements", 1), letter("posts", 1_031)]),
    "Redis refused writes": seen(
        *worker("one", 0, 1, 2, 3, stages=STAGES[:-1]), *ranker("r1", 0, 1, 2, 3, refused_writes=12)
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


def findings(state: Installation) -> list[Finding]:
    return examine(state, HEALTH_CHECKS).findings


def test_what_is_wrong_is_named_with_place_and_way_out(golden: Golden) -> None:
    lines = []
    for name, state in CASES.items():
        lines += [f"## {name}"]
        for one in findings(state):
            shown = "WRONG" if one.is_stale else "look"
            place = f"{one.topic} {one.instance} {len(one.partitions) or ''}".split()
            lines += [f"{shown}, {one.severity} by {one.check}: {' '.join(place)}".rstrip()]
            lines += [f"    {one.where}: {one.what}", f"    -> {one.way_out}"]
    golden.check("workers.txt", "\n".join(lines).replace(BUILD, "<build>") + "\n")


def test_what_makes_feeds_stale_stands_on_top() -> None:
    found = health_of(CASES["a silent worker, stale feeds and a refused release"])
    assert [one.is_stale for one in found.findings] == [True, True, True, True, False]
    assert not found.is_well


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
def test_a_healthy_engine_has_no_findings(state: Installation) -> None:
    assert findings(state) == []
