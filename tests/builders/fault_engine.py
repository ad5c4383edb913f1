"""Engines for the tests of faults: workers that are paused, killed and given wrong clocks.

How a worker is started is known here alone.
"""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from builders.engine import WORKER, Engine, Worker
from builders.own_redis import OwnRedis
from builders.waiting import until
from feedmill.deploy.local.process import HOST, free_port

# Every stage in one process.
ALL_STAGES = WORKER
# A segment this short is closed by the next record, and compacted a moment later.
_COMPACTED_AT_ONCE = {
    "segment.ms": "1000",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1000",
    "min.cleanable.dirty.ratio": "0.001",
}


@dataclass
class FaultEngine(Engine):
    """An engine whose workers a test may pause; `variables` go to those started from then on."""

    _watching: dict[str, Consumer] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)

    def start_worker(
        self, name: str = "", *, stages: str = ALL_STAGES, variables: Mapping[str, str] = {}
    ) -> Worker:
        """Start a worker, a static member of its group if it has a name; it may not be ready."""
        before = self.variables
        port = self._ports[f"{stages}{name}"] = free_port(set(self._ports.values()))
        static = {"FEEDMILL_INSTANCE": name} if name else {}
        self.variables = {**before, "FEEDMILL_PORT": str(port), **static, **variables}
        try:
            self.start(stages, tag=name)
        finally:
            self.variables = before
        return self.workers[f"{stages}{name}"]

    def ready_worker(self, name: str = "", **more: Any) -> Worker:
        """Start a worker and wait until it is ready."""
        worker = self.start_worker(name, **more)
        self.wait_ready(worker.name)
        return worker

    def port_of(self, worker: Worker) -> int:
        """Where a worker serves its health and its metrics."""
        return self._ports[worker.name]

    def producer_of(self, **settings: object) -> Producer:
        """A plain producer on librdkafka, by whose settings records are compressed or grouped."""
        return Producer(
            {
                "bootstrap.servers": self.kafka,
                "partitioner": "murmur2_random",
                "message.max.bytes": 16_000_000,
                **settings,
            }
        )

    def compact_at_once(self, *names: str) -> None:
        """Have the broker compact these topics within moments."""
        admin = AdminClient({"bootstrap.servers": self.kafka})
        changed = [
            ConfigResource(
                ConfigResource.Type.TOPIC,
                self.topic(name),
                incremental_configs=[_setting(*one) for one in _COMPACTED_AT_ONCE.items()],
            )
            for name in names
        ]
        often = _setting("log.cleaner.backoff.ms", "200")
        broker = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[often])
        for future in admin.incremental_alter_configs([*changed, broker]).values():
            future.result(30)

    def open_transactions(self, topic: str) -> bool:
        """Whether a topic has records that are neither committed nor aborted."""
        return self._ends(topic, "read_committed") != self._ends(topic, "read_uncommitted")

    def _ends(self, topic: str, isolation: str) -> list[int]:
        if isolation not in self._watching:
            settings = {"bootstrap.servers": self.kafka, "group.id": "outside"}
            self._watching[isolation] = Consumer({**settings, "isolation.level": isolation})
        watching, name = self._watching[isolation], self.topic(topic)
        return [
            int(watching.get_watermark_offsets(TopicPartition(name, p), timeout=10)[1])
            for p in range(self.partitions)
        ]

    def pause_in_transaction(self, worker: Worker, topic: str) -> None:
        """Pause a worker that writes this topic while what it wrote is not committed."""

        def caught() -> bool:
            if not self.open_transactions(topic):
                return False
            pause(worker)
            # A commit that it had asked for before goes on without it.
            time.sleep(0.5)
            if self.open_transactions(topic):
                return True
            go_on(worker)
            # It commits at once what is overdue, which is not to be caught again.
            time.sleep(0.3)
            return False

        until(caught, 60, every=0)

    def says_ready(self, worker: Worker) -> bool:
        """Whether its `/readyz` answers that it is."""
        return not self.not_ready_since(worker)

    def not_ready_since(self, worker: Worker) -> str:
        """Why it is not ready, as its `/readyz` answers; "" where it is."""
        try:
            self._get(worker, "readyz")
        except urllib.error.HTTPError as error:
            return error.read().decode()
        return ""

    def _get(self, worker: Worker, path: str) -> str:
        url = f"http://{HOST}:{self._ports[worker.name]}/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    def metric(self, worker: Worker, name: str) -> float:
        """The sum of a metric of a worker over its labels."""
        lines = self._get(worker, "metrics").splitlines()
        pattern = re.compile(rf"{name}(\{{.*\}})? ")
        return sum(float(line.rpartition(" ")[2]) for line in lines if pattern.match(line))

    def hold_writes(self, redis: OwnRedis, worker: Worker, post_ids: Sequence[str]) -> None:
        """Pause a worker that has these new posts in hand for Redis, which has none of them.

        Each is in a community of its own, by its name.
        """
        redis.freeze()
        try:
            # By now its writer waits for an answer: what comes after that stays in its queue.
            time.sleep(1.0)
            for post_id in post_ids:
                self.post(post_id, communities=[post_id])
            until(lambda: set(post_ids) <= set(self.latest("signals.engagement")))
            pause(worker)
        finally:
            redis.go_on()
        assert self.truths(post_ids) == {}

    def stop(self) -> None:
        for watching in self._watching.values():
            watching.close()
        super().stop()


def pause(worker: Worker) -> None:
    """Stop a process where it is, and wait until it stands."""
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: _state(worker.pid) == "T")


def go_on(worker: Worker) -> None:
    """Have a paused process go on."""
    os.kill(worker.pid, signal.SIGCONT)


def _setting(name: str, value: str) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
