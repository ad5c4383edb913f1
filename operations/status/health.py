"""What `feedmill doctor` and `feedmill health` look at, and what health shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from feedmill.events.instance import Instance, LegTimes
from feedmill.operations.status import (
    cluster,
    process,
    producers,
    redis_server,
    settings,
    workers,
)
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.heartbeats import Beat, Running
from feedmill.operations.status.installation import Check, Installation, examine
from feedmill.streams.flow import COMBINER, role_of
from feedmill.streams.observe.legs import LEGS, TOPICS

# Before an installation runs, or while it does.
DOCTOR_CHECKS: tuple[Check, ...] = (
    *(process.variables, process.home, process.port, process.libraries),
    *(cluster.addresses, cluster.replicas, cluster.broker_settings),
    *(cluster.broker_version, cluster.missing_topics, cluster.partitions, cluster.topic_settings),
    *(cluster.windows, cluster.undeclared_signals, cluster.recreated_topics),
    *(producers.partitioners, producers.contracts, producers.event_times),
    *(producers.authors, workers.host_clock, workers.instance_clocks),
    *(redis_server.redis_clock, redis_server.redis_kind, redis_server.redis_memory),
    *(redis_server.redis_encodings, redis_server.redis_writes, redis_server.redis_scripts),
    *(redis_server.redis_keys, settings.store, settings.models, settings.lists),
    *(settings.refused_records, settings.lost_feeds, settings.thresholds, settings.rules),
    *(settings.overrides, workers.engine, workers.feeds, workers.builds, workers.instance_names),
    *(workers.model_versions, workers.refused_settings),
    *(workers.refused_writes, workers.refused_releases, workers.capped_sources, workers.drift),
    *(workers.dead_letters, workers.members, workers.strangers, workers.positions),
    *(workers.hanging_transactions, workers.open_transactions),
)


# Those whose answers take little time.
HEALTH_CHECKS: tuple[Check, ...] = (
    *(cluster.missing_topics, workers.no_worker, workers.engine, workers.instance_clocks),
    *(workers.feeds, workers.dead_letters, workers.builds, redis_server.redis_memory),
    *(workers.refused_settings, workers.refused_writes, workers.model_versions),
    *(workers.refused_releases, workers.capped_sources, workers.drift),
)
# An answer of Kafka that takes longer is none.
_WITHIN_S = 10.0


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

    @property
    def partitions(self) -> int:
        """How many partitions of `posts` and `engagements` it reads."""
        return len({at.partition for at in self.one.partitions})


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
        """Whether no feed is stale or will be; there may be something to look at."""
        return not any(one.is_stale for one in self.findings)


def health_of(inst: Installation) -> Health:
    """Look at an installation; waits some seconds at most whatever state it is in."""
    inst.ask_kafka(("running", "letters", "groups", "bounds"), _WITHIN_S)
    findings = sorted(examine(inst, HEALTH_CHECKS).findings, key=lambda one: not one.is_stale)
    running = inst.if_known(lambda one: one.running)
    found = running_workers(running) if running is not None else ()
    states = Counter(feed.state for feed in inst.if_known(lambda one: one.feeds) or ())
    nodes = inst.if_known(lambda one: [int(node.info["used_memory"]) for node in one.redis_nodes])
    return Health(
        inst.now_ms() if running is None else running.now_ms,
        findings,
        found,
        worst_legs(worker.one for worker in found),
        {state: states[state] for state in ("fresh", "starting", "stale")},
        None if nodes is None else sum(nodes) // 2**20,
    )


def running_workers(running: Running) -> tuple[RunningWorker, ...]:
    """Return the processes that report, by their names; stages of one process are one worker."""
    by_process: dict[tuple[str, int], list[Beat]] = {}
    for beat in sorted(running.living, key=lambda beat: beat.at_ms):
        by_process.setdefault((beat.instance.instance, beat.instance.pid), []).append(beat)
    return tuple(
        RunningWorker(
            tuple(sorted(beat.instance.stage for beat in beats)),
            beats[-1].instance,
            running.now_ms - beats[-1].at_ms,
            tuple(n for b in beats if b.instance.stage == COMBINER for n in b.instance.shards),
            sum(b.instance.logs_lag for b in beats if b.instance.stage == COMBINER),
        )
        for _, beats in sorted(by_process.items())
    )


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
