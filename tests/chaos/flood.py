"""Records of a pool, sent by librdkafka as fast as is asked: far more than a worker takes."""

import threading
import time
from collections.abc import Sequence

from confluent_kafka import Producer

from builders.engine import Engine

_EVERY_S = 0.01
# Stands in a record for a user of its own in each round: one who repeats himself is not counted.
EACH_TIME_ANOTHER = "user-of-round-0000000"
_PLACE = EACH_TIME_ANOTHER.encode()


class Flood:
    """Sends the records of a pool in turn, each a key and a value."""

    def __init__(
        self, engine: Engine, topic: str, pool: Sequence[tuple[bytes, bytes]], rate: float = 0.0
    ) -> None:
        self.total = 0
        self.rate = rate
        self._topic, self._pool = engine.topic(topic), pool
        self._producer: Producer = engine.producer_of(
            **{"linger.ms": 5, "queue.buffering.max.messages": 2_000_000}
        )

    def send(self, number: int) -> None:
        """Send so many and wait until Kafka has them."""
        self._produce(number)
        assert self._producer.flush(120) == 0

    def send_until(self, stop: threading.Event) -> None:
        """For `in_background`: keep to the rate."""
        start, sent = time.monotonic(), 0
        while not stop.wait(_EVERY_S):
            due = int((time.monotonic() - start) * self.rate) - sent
            self._produce(due)
            sent += due
        assert self._producer.flush(120) == 0

    def _produce(self, number: int) -> None:
        for row in range(self.total, self.total + number):
            key, value = self._pool[row % len(self._pool)]
            user = b"user-of-round-%07d" % (row // len(self._pool))
            self._producer.produce(self._topic, value.replace(_PLACE, user), key)
        self.total += number
        self._producer.poll(0)

    @property
    def sent(self) -> list[int]:
        """How often each record of the pool was sent."""
        rounds, more = divmod(self.total, len(self._pool))
        return [rounds + (row < more) for row in range(len(self._pool))]
