"""What a worker says of itself in `/readyz`, heartbeats, metrics and to its supervisor."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Event
from typing import Protocol

from feedmill.events.instance import (
    MOST_SOURCES,
    REASON_CHARACTERS,
    Instance,
    LegTimes,
    PartitionLag,
)
from feedmill.streams.flow import COMBINER, judged_by
from feedmill.streams.kafka.assignment import POSTS, SHARDS
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.offsets import Offsets
from feedmill.streams.kafka.topic_ids import TopicIds
from feedmill.streams.observe.legs import Legs, RecentLegs
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import Status, StatusServer, status_pipe, write_status
from feedmill.streams.poison.poison_watch import PoisonWatch
from feedmill.streams.releases.model_releases import ModelReleases
from feedmill.streams.rights import needed_topics
from feedmill.streams.security import certificates_left
from feedmill.streams.settings.clock import LogTime
from feedmill.streams.settings.config_log import SettingsLog
from feedmill.streams.worker.heap import resident_mib
from feedmill.streams.worker.own_rights import OwnRights
from feedmill.streams.worker.step import Step
from feedmill.streams.worker.takeover import Takeover
from feedmill.streams.worker.watchdog import Watchdog

log = logging.getLogger(__name__)

# A look takes milliseconds.
_LOOK_EVERY_S = 0.2
_REPORT_EVERY_S = 1.0
_STUCK_S = 5.0
_CERTIFICATES_EVERY_S = 3_600.0
_BUILD = importlib.metadata.version("feedmill")
# How often Kafka is asked while another group is there, and how soon after a heartbeat of one.
_ASK_EVERY_S, _ASK_AFTER_S = 5.0, 1.0


class Running(Protocol):
    """The parts of a worker at which its status looks."""

    steps: Sequence[Step]
    legs: Legs
    connection: Connection
    metrics: Metrics
    stopping: Event
    time: LogTime
    settings: SettingsLog
    releases: ModelReleases
    writer: TransactionalWriter
    poison: PoisonWatch
    group: GroupConsumer
    topics: TopicIds
    takeover: Takeover


class WorkerStatus:
    """Looks at the worker on its loop a few times a second; HTTP reads what the last look saw."""

    def __init__(self, worker: Running, watchdog: Watchdog) -> None:
        self._worker = worker
        self.watchdog = watchdog
        self._reason = "starting"
        self._partitions: tuple[PartitionLag, ...] = ()
        self._look_at = self._report_at = self._certificates_at = 0.0
        self._legs = RecentLegs(worker.legs)
        self._pipe = status_pipe(os.environ)
        self._web = StatusServer(self.ready_reason, self._metrics_text)
        stages = {step.name for step in worker.steps}
        needed = needed_topics(stages, worker.connection.environment.signals)
        self._rights = OwnRights(worker.connection, needed, worker.group.name)
        self.others = OtherGroups(
            worker.group.name,
            stages,
            partial(judged_by, environment=worker.connection.environment),
            worker.connection.offsets,
        )

    def start(self) -> None:
        environment = self._worker.connection.environment
        if environment.port is not None and self._pipe is None:
            self._web.start(environment.host, environment.port)
            log.info("http://%s:%d/metrics", environment.host, self._web.port)

    def ready_reason(self) -> str:
        """Say why the worker is not ready, as last seen; "" when it is.  Any thread may ask."""
        # The start waits for Kafka, and the loop with it.
        is_starting = self._reason == "starting"
        if is_starting and (trouble := self._worker.connection.health.reason()):
            return trouble
        stuck_s = self.watchdog.stuck_s()
        if stuck_s > _STUCK_S:
            return f"the loop stands still for {stuck_s:.0f} s"
        return self._reason

    def hurry(self) -> None:
        """Have the next `look` look at once."""
        self._look_at = 0.0

    def look(self) -> None:
        """Look at the worker if a look is due; called in every cycle."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        self.others.ask()
        self._rights.look()
        reason = self._current_reason()
        if reason != self._reason:
            if not reason or not self._reason or self._reason == "starting":
                log.info("ready" if not reason else f"not ready: {reason}")
            was_ready, self._reason = not self._reason, reason
            if was_ready != (not reason):
                self._worker.time.heartbeats.hurry()
        if now >= self._report_at:
            self._report_at = now + _REPORT_EVERY_S
            self._report()

    def instances(self) -> Iterator[Instance]:
        """Yield a heartbeat for each stage of the worker."""
        by_stage: dict[str, list[Step]] = {}
        for step in self._worker.steps:
            by_stage.setdefault(step.name, []).append(step)
        legs, memory_mib = self._legs.times(), resident_mib()
        for stage, steps in by_stage.items():
            yield self._instance(stage, steps, legs, memory_mib)

    def _instance(
        self,
        stage: str,
        steps: Sequence[Step],
        legs: dict[str, dict[str, LegTimes]],
        memory_mib: int | None,
    ) -> Instance:
        worker = self._worker
        settings, releases = worker.settings, worker.releases
        models: dict[str, str] = {}
        for step in steps:
            models |= step.models
        statuses = [step.status() for step in steps]
        newest = settings.settings.offset
        applied = [newest if s.applied_offset is None else s.applied_offset for s in statuses]
        capped = {source for status in statuses for source in status.capped_sources}
        return Instance(
            stage=stage,
            instance=worker.connection.environment.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            build=_BUILD,
            config_offset=min(applied),
            refused=tuple(settings.refused),
            models=models,
            ready=not self._reason,
            lag=sum(place.lag for place in self._partitions),
            at_ms=worker.time.clock.now_ms(),
            models_offset=releases.offset(stage),
            refused_releases=releases.refused,
            candidates=releases.candidates.heartbeat(stage),
            waiting_releases=releases.waiting,
            group=worker.group.name,
            partitions=self._partitions,
            reason=self._reason[:REASON_CHARACTERS],
            memory_mib=memory_mib,
            legs=legs,
            capped_sources=tuple(sorted(capped)[:MOST_SOURCES]),
            capped_count=len(capped),
            refused_writes=sum(status.refused_writes for status in statuses),
            shards=tuple(sorted(shard for status in statuses for shard in status.shards)),
            logs_lag=sum(status.logs_lag for status in statuses),
            leaving=worker.takeover.leaving,
        )

    def close(self) -> None:
        self._web.stop()

    def _current_reason(self) -> str:
        worker = self._worker
        parts = (
            self._rights.ready_reason(),
            worker.topics.ready_reason(),
            worker.group.ready_reason(),
            worker.writer.trouble,
            # Before the steps, since a step that may not claim feeds only says that it has none.
            self.others.ready_reason(),
            worker.settings.ready_reason(),
            worker.releases.ready_reason(),
            worker.poison.ready_reason(),
            *(step.status().reason for step in worker.steps),
            worker.connection.health.reason(),
        )
        return next((part for part in parts if part), "")

    def _report(self) -> None:
        worker, metrics = self._worker, self._worker.metrics
        self._look_at_partitions()
        lag = worker.group.progress.lag
        metrics.set("feedmill_ready", float(not self._reason))
        metrics.set("feedmill_lag", sum(lag.values()))
        metrics.replace(
            "feedmill_partition_lag",
            {(worker.group.name, at.topic, str(at.partition)): float(n) for at, n in lag.items()},
        )
        self._report_late()
        metrics.set("feedmill_shards", sum(len(step.status().shards) for step in worker.steps))
        metrics.set("feedmill_memory_bytes", (resident_mib() or 0) * 1024**2)
        self._report_certificates()
        metrics.set("feedmill_config_offset", worker.settings.settings.offset)
        metrics.add_up_to("feedmill_refused_settings_total", worker.settings.refused_count)
        metrics.add_up_to("feedmill_clock_refused_total", worker.time.clock.refused)
        metrics.add_up_to("feedmill_model_swaps_total", worker.releases.swaps)
        metrics.add_up_to("feedmill_refused_releases_total", worker.releases.refused_count)
        metrics.set("feedmill_waiting_releases", len(worker.releases.waiting))
        for topic, count in worker.connection.headers.take_passed().items():
            metrics.add("feedmill_passed_batches_total", count, topic=topic)
        self._report_commits()
        if self._pipe is None:
            return
        if not write_status(self._pipe, Status(self._reason, self._metrics_text())):
            log.info("the supervisor is gone: stopping")
            worker.stopping.set()

    def _report_certificates(self) -> None:
        """Say how long certificates last, once an hour: their files may be replaced."""
        now = time.monotonic()
        if now < self._certificates_at:
            return
        self._certificates_at = now + _CERTIFICATES_EVERY_S
        for variable, days in certificates_left(os.environ).items():
            self._worker.metrics.set("feedmill_certificate_days", days, variable=variable)

    def _look_at_partitions(self) -> None:
        """See how far each partition is read; feeds wait to hear which partitions are late."""
        group, before = self._worker.group, _late_among(self._partitions)
        group.look()
        self._partitions = tuple(
            PartitionLag(at.topic, at.partition, lag, *group.progress.lateness(at))
            for at, lag in group.progress.lag.items()
        )
        if _late_among(self._partitions) != before:
            self._worker.time.heartbeats.hurry()

    def _report_late(self) -> None:
        metrics, group = self._worker.metrics, self._worker.group.name
        late = [place for place in self._partitions if place.late_ms]
        metrics.replace(
            "feedmill_late_seconds",
            {(group, place.topic, str(place.partition)): place.late_ms / 1000 for place in late},
        )
        metrics.replace(
            "feedmill_held_back",
            {(group, place.topic, str(place.partition)): 1.0 for place in late if place.why},
        )

    def _metrics_text(self) -> str:
        """Return all metrics, and when they were read; called by HTTP's thread and the loop."""
        metrics = self._worker.metrics
        metrics.set("feedmill_metrics_timestamp_seconds", time.time())
        return metrics.text()

    def _report_commits(self) -> None:
        metrics, seen = self._worker.metrics, self._worker.writer.statistics()
        for seconds in seen.commit_seconds:
            metrics.observe("feedmill_commit_seconds", seconds)
        metrics.add("feedmill_commit_records_total", seen.records)
        metrics.add("feedmill_aborts_total", seen.aborts)
        metrics.add("feedmill_letters_total", seen.dead_letters)
        metrics.add("feedmill_shared_letters_total", seen.shared)


def _late_among(partitions: Iterable[PartitionLag]) -> set[tuple[str, int]]:
    return {(place.topic, place.partition) for place in partitions if place.late_ms}


class OtherGroups:
    """Knows which other consumer groups run stages of this worker's group, too.

    It asks Kafka at the start, and when a heartbeat names another group.  Of two such groups the
    group whose name comes first goes on as if it were alone; the workers of the second group are
    not ready and claim no feeds.  So a process that was started by mistake stops no feed.
    `judged_by` returns the stages by which workers of a group judge; none if it has no worker.
    """

    def __init__(
        self,
        group: str,
        stages: Collection[str],
        judged_by: Callable[[str], Collection[str]],
        offsets: Offsets,
    ) -> None:
        self._group, self._stages, self._judged_by = group, stages, judged_by
        self._offsets = offsets
        # By group the stages that it shares with this worker; None before Kafka's first answer.
        self._others: dict[str, list[str]] | None = None
        self._asked: Future[dict[str, set[str]]] | None = None
        self._ask_at = 0.0

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Ask Kafka soon if a heartbeat names another group of workers."""
        if instance.stage in self._stages and self._is_other(instance.group):
            self._ask_at = min(self._ask_at, time.monotonic() + _ASK_AFTER_S)

    def ask(self) -> None:
        """Ask Kafka when a question is due, and take its answer; never waits."""
        if self._asked is None and time.monotonic() >= self._ask_at:
            self._asked, self._ask_at = self._offsets.topics_read(self._is_other), math.inf
        if self._asked is None or not self._asked.done():
            return
        asked, self._asked, before = self._asked, None, self._others or {}
        if asked.exception() is not None:
            self._ask_at = time.monotonic() + _ASK_AFTER_S
            return
        running = {group: self._running(group, read) for group, read in asked.result().items()}
        self._others = {group: stages for group, stages in running.items() if stages}
        for group in self._others.keys() - before:
            log.error("%s", self._complaint(group))
        if self._others:
            self._ask_at = min(self._ask_at, time.monotonic() + _ASK_EVERY_S)

    def ready_reason(self) -> str:
        """Say which other group has the right of way; "" if none has."""
        return next(map(self._complaint, self._first()), "")

    def are_first(self, stage: str) -> bool | None:
        """Return whether a group that runs a stage has the right of way; None: not known yet."""
        others = self._others
        return None if others is None else any(stage in others[group] for group in self._first())

    def _first(self) -> Iterator[str]:
        return (group for group in self._others or () if group < self._group)

    def _is_other(self, group: str) -> bool:
        return group != self._group and bool(self._judged_by(group))

    def _running(self, group: str, topics: Collection[str]) -> list[str]:
        """Return which stages of this worker another group runs, by the topics its members read.

        Members that wait for their partitions may read any of them.
        """
        topics = topics or (POSTS, SHARDS)
        judged = self._judged_by(group) if POSTS in topics else ()
        ranks = (COMBINER,) if SHARDS in topics else ()
        return [stage for stage in (*judged, *ranks) if stage in self._stages]

    def _complaint(self, group: str) -> str:
        stages = ", ".join((self._others or {})[group])
        return (
            f"the group `{group}` runs {stages}, too, and both write the results: stop the workers"
            f" of one group, `{group}` or `{self._group}`; `feedmill groups describe` lists them"
        )
