"""What runs, how long records take, and how the feeds are: what stands below the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from feedmill.events.instance import Instance, LegTimes
from feedmill.operations.health.findings import Finding, findings
from feedmill.operations.health.seen import Beat, Seen
from feedmill.streams.flow import COMBINER, role_of
from feedmill.streams.observe.legs import LEGS, TOPICS

_MIB = 1024 * 1024


@dataclass(frozen=True)
class RunningWorker:
    """A process that reports, with all of its stages; `age_ms` is that of its last heartbeat.

    `shards` are those of feeds that it ranks, `logs_lag` how many records it has not read to rank.
    """

    stages: tuple[str, ...]
    one: Instance
    age_ms: int
    shards: tuple[int, ...] = ()
    logs_lag: int = 0

    @property
    def role(self) -> str:
        """Judge, ranker, or worker, which is both; "" of a program that is none."""
        return role_of(self.stages) if self.one.group else ""

    def as_dict(self) -> dict[str, object]:
        """The worker as `feedmill health --json` prints it."""
        one = self.one
        return {
            "instance": one.instance,
            "host": one.host,
            "pid": one.pid,
            "build": one.build,
            "group": one.group,
            "role": self.role,
            "stages": list(self.stages),
            "ready": one.ready,
            "reason": one.reason,
            "lag": one.lag,
            "partitions": len({at.partition for at in one.partitions}),
            "shards": self.shards,
            "logs_lag": self.logs_lag,
            "memory_mib": one.memory_mib,
            "age_ms": self.age_ms,
        }


@dataclass(frozen=True)
class Health:
    """What `feedmill health` shows."""

    at_ms: int
    findings: Sequence[Finding]
    workers: Sequence[RunningWorker]
    legs: dict[str, dict[str, LegTimes]]
    feeds: dict[str, int]
    redis_mib: int | None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong; there may be something to look at."""
        return all(one.severity != "wrong" for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The whole as `--json` prints it."""
        return {
            "healthy": self.is_well,
            "at_ms": self.at_ms,
            "findings": [one.as_dict() for one in self.findings],
            "workers": [one.as_dict() for one in self.workers],
            "legs": {
                topic: {
                    leg: {
                        "p50_ms": times.p50_ms,
                        "p99_ms": times.p99_ms,
                        "per_second": times.per_second,
                    }
                    for leg, times in legs.items()
                }
                for topic, legs in self.legs.items()
            },
            "feeds": self.feeds,
            "redis_mib": self.redis_mib,
        }


def health_of(seen: Seen, at_ms: int) -> Health:
    """Make of what was seen what is shown; `at_ms` is the time of this host."""
    kafka, redis = seen.kafka, seen.redis
    workers = () if kafka is None else _workers(seen)
    states = Counter(feed.state for feed in redis.feeds) if redis is not None else Counter[str]()
    return Health(
        at_ms if kafka is None else kafka.now_ms,
        findings(seen),
        workers,
        worst_legs(worker.one for worker in workers),
        {state: states[state] for state in ("fresh", "starting", "stale")},
        None if redis is None else redis.used_bytes // _MIB,
    )


def _workers(seen: Seen) -> tuple[RunningWorker, ...]:
    """The processes that report, by their names; stages of one process are one worker."""
    kafka = seen.kafka
    if kafka is None:
        return ()
    beats = sorted(kafka.living, key=lambda beat: beat.at_ms)
    by_process: dict[tuple[str, int], list[Beat]] = {}
    for beat in beats:
        by_process.setdefault((beat.instance.instance, beat.instance.pid), []).append(beat)
    return tuple(
        _worker(those, kafka.now_ms - those[-1].at_ms) for _, those in sorted(by_process.items())
    )


def _worker(beats: Sequence[Beat], age_ms: int) -> RunningWorker:
    ranking = [beat.instance for beat in beats if beat.instance.stage == COMBINER]
    shards = tuple(shard for one in ranking for shard in one.shards)
    logs_lag = sum(one.logs_lag for one in ranking)
    stages = tuple(sorted(beat.instance.stage for beat in beats))
    return RunningWorker(stages, beats[-1].instance, age_ms, shards, logs_lag)


def worst_legs(instances: Iterable[Instance]) -> dict[str, dict[str, LegTimes]]:
    """Return each leg's times of the instance where it takes longest, and the rate of all."""
    found: dict[str, dict[str, LegTimes]] = {}
    for one in instances:
        for topic in TOPICS:
            for leg in LEGS:
                times = one.legs.get(topic, {}).get(leg)
                if times is None:
                    continue
                before = found.setdefault(topic, {}).get(leg, LegTimes(0, 0, 0))
                found[topic][leg] = LegTimes(
                    max(before.p50_ms, times.p50_ms),
                    max(before.p99_ms, times.p99_ms),
                    before.per_second + times.per_second,
                )
    return found
