"""Engines for the tests of faults: workers that are paused, killed and given wrong clocks.

How a worker is started is known here alone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from builders.engine import WORKER, Engine, Worker
from builders.engine_topics import PARTITIONS
from builders.waiting import until

# Every stage in one process.
ALL_STAGES = WORKER
# A segment this short is closed by the next record, and compacted a moment later.
_COMPACTED_AT_ONCE = {
    "segment.ms": "100",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
}


@dataclass
class FaultEngine(Engine):
    """An engine whose workers a test may pause; `variables` go to those started from then on."""

    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.variables}

    def start_worker(
        self, name: str = "", *, stages: str = ALL_STAGES, variables: Mapping[str, str] = {}
    ) -> Worker:
        """Start a worker, a static member of its group if it has a name; it may not be ready."""
        before = self.variables
        static = {"FEEDMILL_INSTANCE": name} if name else {}
        self.variables = {**before, **static, **variables}
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
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            admin.alter_configs(
                [
                    ConfigResource(
                        ConfigResourceType.TOPIC, self.topic(name), dict(_COMPACTED_AT_ONCE)
                    )
                    for name in names
                ]
            )
            admin.alter_configs(
                [ConfigResource(ConfigResourceType.BROKER, "", {"log.cleaner.backoff.ms": "200"})]
            )
        finally:
            admin.close()

    def open_transactions(self, topic: str) -> set[int]:
        """Partitions of a topic with records that are neither committed nor aborted."""
        return {
            p
            for p in range(PARTITIONS)
            if self._end(topic, p, "read_committed") < self._end(topic, p, "read_uncommitted")
        }

    def _end(self, topic: str, partition: int, isolation: str) -> int:
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": "outside",
                "isolation.level": isolation,
            }
        )
        at = TopicPartition(self.topic(topic), partition)
        try:
            return int(consumer.get_watermark_offsets(at, timeout=10)[1])
        finally:
            consumer.close()


def pause(worker: Worker) -> None:
    """Stop a process where it is, and wait until it stands."""
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: _state(worker.pid) == "T")


def go_on(worker: Worker) -> None:
    """Have a paused process go on."""
    os.kill(worker.pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
