"""Writes a rare record to one topic, outside of all transactions."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.kafka.client import WatchedProducer, new_producer
from feedmill.streams.kafka.connection import Connection

log = logging.getLogger(__name__)

_QUEUE_RECORDS = 100


class RecordSender:
    """Never waits; a record that does not arrive within ten seconds is given up, and logged.

    Without the right to write the topic nothing but that record is missing.  The client is made
    for the first record.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: WatchedProducer | None = None

    def send(self, key: bytes, value: bytes) -> None:
        """Write a record to partition 0."""
        environment = self._connection.environment
        if self._producer is None:
            health = self._connection.health
            self._producer = new_producer(environment, health, queue_records=_QUEUE_RECORDS)
        topic = environment.topic(self._topic)
        try:
            self._producer.produce(topic, value, key, 0, on_delivery=self._delivered)
        except (BufferError, KafkaException) as error:
            log.error("cannot write %s: %r", topic, error)

    def serve(self) -> None:
        """Log what did not arrive; called now and then."""
        if self._producer is not None:
            self._producer.poll(0)
            if self._producer.brokers.are_lost:
                self._producer = None

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            topic = self._connection.environment.topic(self._topic)
            log.error("cannot write %s: %s; may this user write it?", topic, error.str())
