"""What a worker says of itself on `instances`: a record for each of its stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.streams.kafka.client import WatchedProducer, new_producer
from feedmill.streams.kafka.connection import Connection

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
# However much changes.
_LEAST_S = 0.1
_TOPIC = "instances"
_GOODBYE_S = 2.0
# A client that is not polled keeps its reports for ever.
_SERVE_EVERY_S = 0.5


class Heartbeats:
    """Writes heartbeats outside of all transactions: at once, aborts or not.  Never waits."""

    def __init__(self, connection: Connection) -> None:
        self._environment = connection.environment
        self._health = connection.health
        self._producer = self._new_producer()
        self._next_at = self._serve_at = self._least_at = 0.0
        self._stages: set[str] = set()

    def beat(self, now_s: float, instances: Callable[[], Iterable[Instance]]) -> bool:
        """Write a record for each stage where it is time; return whether it was."""
        if now_s >= self._serve_at:
            self._serve_at = now_s + _SERVE_EVERY_S
            self._producer.poll(0)
            if self._producer.brokers.are_lost:
                self._producer = self._new_producer()
        if now_s < max(self._next_at, self._least_at):
            return False
        self._next_at, self._least_at = now_s + HEARTBEAT_S, now_s + _LEAST_S
        for one in instances():
            self._stages.add(one.stage)
            self._write(one.stage, encode(one))
        return True

    def _new_producer(self) -> WatchedProducer:
        return new_producer(self._environment, self._health, queue_records=10_000)

    def hurry(self) -> None:
        """Have the next `beat` write, 0.1 s after the last at the earliest: something changed."""
        self._next_at = 0.0

    def leave(self) -> None:
        """Say of each stage that it ended in order; waits up to two seconds."""
        for stage in self._stages:
            self._write(stage, None)
        self._producer.flush(_GOODBYE_S)

    def _write(self, stage: str, value: bytes | None) -> None:
        key = f"{stage}/{self._environment.instance}".encode()
        topic = self._environment.topic(_TOPIC)
        try:
            self._producer.produce(topic, value, key, 0, on_delivery=self._delivered)
        except (BufferError, KafkaException) as error:
            log.warning("no heartbeat: %r", error)

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._health.report(error)
