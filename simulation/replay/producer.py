"""The producer of a replay: starts with clear errors, and closes within a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import ClientHealth, new_producer

_START_S = 15.0
_TRY_S = 0.5
# Errors after which no further try helps.
_FINAL = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
)
# As many records wait for the broker at most; then `send` takes no more.
_QUEUE_RECORDS = 20_000
# How long a record may wait for a broker that is away.
_DELIVERY_MS = 60_000
_POLL_S = 0.05

# Called with the reason why a record was not written, or None once it was.
Outcome = Callable[[str | None], None]


class ReplayProducer:
    """Writes records in the background; the outcomes come in calls of `poll`.

    Attributes
    ----------
    topics
        The full names of the topics that there are.
    """

    def __init__(self, producer: Producer, topics: frozenset[str]) -> None:
        self.topics = topics
        self._producer = producer

    def send(self, topic: str, key: bytes, value: bytes | None, outcome: Outcome) -> bool:
        """Take a record; return False, and take nothing, while too many wait for the broker.

        Raises
        ------
        KafkaException
            The record is too large, or the producer cannot go on.
        """

        def report(error: KafkaError | None, _: Message) -> None:
            outcome(None if error is None else error.str())

        try:
            self._producer.produce(topic, value, key, on_delivery=report)
        except BufferError:
            return False
        return True

    def poll(self) -> None:
        """Report the outcomes that are known by now."""
        self._producer.poll(0)

    @property
    def waiting(self) -> int:
        """How many records have no outcome yet."""
        return len(self._producer)

    def close(self, within_s: float) -> None:
        """Wait so long for the last outcomes; give up what is left, without an outcome."""
        end = time.monotonic() + within_s
        while self.waiting and time.monotonic() < end:
            self._producer.poll(_POLL_S)


def start_producer(environment: Environment, topics: Iterable[str]) -> ReplayProducer:
    """Connect, check that these topics exist, and return the producer.

    Raises
    ------
    UsageError
        The broker does not answer or refuses, or one of the topics does not exist.
    """
    producer = new_producer(
        environment, errors := _Errors(), queue_records=_QUEUE_RECORDS, delivery_ms=_DELIVERY_MS
    )
    found = _topics(environment, producer, errors)
    missing = [name for name in map(environment.topic, topics) if name not in found]
    if missing:
        raise UsageError(
            f"Kafka at {environment.kafka} has no topic {', '.join(missing)}; create the topics "
            "with `feedmill topics create`, or give the right --prefix"
        )
    return ReplayProducer(producer, found)


class _Errors(ClientHealth):
    """What the client complains of; a replay counts failures instead of logging them."""

    def __init__(self) -> None:
        super().__init__()
        self.final: KafkaError | None = None

    def report(self, error: KafkaError | str) -> None:
        if not isinstance(error, str) and error.code() in _FINAL:
            self.final = error


def _topics(environment: Environment, producer: Producer, errors: _Errors) -> frozenset[str]:
    end = time.monotonic() + _START_S
    while True:
        try:
            return frozenset(producer.list_topics(timeout=_TRY_S).topics)
        except KafkaException:
            # Why it failed, a call back alone says.
            producer.poll(0)
        if errors.final is None and time.monotonic() < end:
            continue
        refused = errors.final is not None and errors.final.code() != KafkaError._ALL_BROKERS_DOWN
        reason = errors.final.str() if errors.final is not None and refused else "cannot connect"
        raise UsageError(
            f"Kafka at {environment.kafka}: {reason}; start it (`feedmill local up` starts a local"
            " one), or correct --kafka, FEEDMILL_KAFKA or the credentials"
        )
