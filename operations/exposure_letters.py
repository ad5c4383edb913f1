"""Dead letters of exposures: written before the part that holds the offsets behind them."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import WatchedProducer, kafka_errors, new_producer
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.dead_letters import Rejections
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.settings.clock import now_ms

STAGE = "experiments"
_MOST_BYTES = 64 * 1024 * 1024
_WITHIN_S = 30.0


class ExposureLetters:
    """Writes the letters of rejected records, beyond the rate of dead letters in range letters.

    The client is made for the first one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rejections = Rejections(_MOST_BYTES)
        self._producer: WatchedProducer | None = None

    def write(self, rejected: Iterable[RejectedRecord]) -> None:
        """Write the letters; all of them are there when it returns.

        Raises
        ------
        UsageError
            Kafka did not take one within half a minute, or this user may not write it.
        """
        at_ms, reject = now_ms(), self._rejections.reject
        made = [reject(one, STAGE, at_ms, _owner(one), is_whole=True) for one in rejected]
        self._rejections.seal()
        letters = [*filter(None, made), *self._rejections.letters()]
        self._rejections.count_waiting(())
        if not letters:
            return
        environment, errors = self._connection.environment, list[KafkaError]()
        if self._producer is None:
            self._producer = new_producer(environment, self._connection.health)

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                errors.append(error)

        with kafka_errors(environment):
            for one in letters:
                self._producer.produce(
                    environment.topic(one.topic),
                    one.value,
                    one.key,
                    one.partition,
                    headers=[*one.headers],
                    on_delivery=delivered,
                )
            if self._producer.flush(_WITHIN_S):
                errors.append(KafkaError(KafkaError._TIMED_OUT))
            if errors:
                raise KafkaException(errors[0])


def _owner(one: RejectedRecord) -> TopicPartition:
    return TopicPartition("posts", one.source.partition)
