"""What all clients of a process share, and a producer for rare records."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import BatchHeaders
from feedmill.streams.kafka.client import (
    FETCH_WAIT_MS,
    ClientHealth,
    WatchedConsumer,
    WatchedProducer,
    new_log_consumer,
    new_producer,
)
from feedmill.streams.kafka.offsets import Offsets

log = logging.getLogger(__name__)

_QUEUE_RECORDS = 10_000


class Connection:
    """The environment, the clients' last error, offsets, and headers of batches to pass.

    `fetch_wait_ms` is that of `client.new_log_consumer`.
    """

    def __init__(self, environment: Environment, fetch_wait_ms: int = FETCH_WAIT_MS) -> None:
        self.environment = environment
        self._fetch_wait_ms = fetch_wait_ms
        self.health = ClientHealth()
        self.offsets = Offsets(environment, self.health)
        self.headers = BatchHeaders(environment, self.health)

    def new_log_consumer(
        self, *, committed: bool = True, waiting: int | None = None
    ) -> WatchedConsumer:
        """Return what `client.new_log_consumer` returns."""
        return new_log_consumer(
            self.environment,
            self.health,
            committed=committed,
            waiting=waiting,
            fetch_wait_ms=self._fetch_wait_ms,
        )

    def close(self) -> None:
        """Let go of the threads."""
        self.offsets.close()
        self.headers.close()


class RecordSender:
    """Writes rare records to a topic outside of transactions; never waits.

    A record that does not arrive within ten seconds is given up; `failed` is told, by default the
    log.  The producer is made for the first record, or by `connect`.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        failed: Callable[[KafkaError | str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._topic = connection.environment.topic(topic)
        self._failed = self._log if failed is None else failed
        self._producer: WatchedProducer | None = None

    def connect(self) -> WatchedProducer:
        """Return the producer, a new one after the former producer found no broker."""
        if self._producer is None:
            environment, health = self._connection.environment, self._connection.health
            self._producer = new_producer(environment, health, queue_records=_QUEUE_RECORDS)
        return self._producer

    def send(self, key: bytes, value: bytes | None) -> None:
        """Write a record to partition 0."""
        try:
            self.connect().produce(self._topic, value, key, 0, on_delivery=self._delivered)
        except (BufferError, KafkaException) as error:
            self._failed(repr(error))

    def serve(self) -> None:
        """Report records that did not arrive; called now and then."""
        if self._producer is not None:
            self._producer.poll(0)
            if self._producer.brokers.are_lost:
                self._producer = None

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failed(error)

    def _log(self, error: KafkaError | str) -> None:
        if isinstance(error, KafkaError):
            log.error("cannot write %s: %s; may this user write it?", self._topic, error.str())
        else:
            log.error("cannot write %s: %s", self._topic, error)
