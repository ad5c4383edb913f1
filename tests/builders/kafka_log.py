"""Plain clients for tests of the Kafka layer: what stands on a topic, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from feedmill.events.signal import SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import topic_table
from feedmill.streams.kafka.topics import _create_topics, open_admin

SIGNALS = SignalNames().all


@dataclass
class KafkaLog:
    """One installation's topics under a prefix of its own."""

    environment: Environment
    partitions: int

    @classmethod
    def created(
        cls, kafka: str, prefix: str, partitions: int = 2, *, ranks: bool = False, **more: Any
    ) -> KafkaLog:
        """Make all topics, without those of shards unless somebody `ranks`: they take as long."""
        table = {prefix + spec.name: spec for spec in topic_table(SIGNALS)}
        if not ranks:
            del table[f"{prefix}feed-shards"]
        with open_admin(kafka, {}) as admin:
            _create_topics(admin, [*table], table, partitions, -1)
        return cls(Environment(kafka=kafka, topic_prefix=prefix, **more), partitions)

    def named(self, instance: str, *, is_static: bool = False) -> Environment:
        """The same installation, as another process sees it; a static member if wanted."""
        return Environment(
            kafka=self.environment.kafka,
            topic_prefix=self.environment.topic_prefix,
            instance=instance,
            instance_is_given=is_static,
        )

    def producer(self, **settings: Any) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self.environment.kafka,
                "partitioner": "murmur2_random",
                "message.max.bytes": 16_000_000,
                **settings,
            }
        )

    def produce(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]], **settings: Any
    ) -> None:
        """Write records and wait; fails where one is refused."""
        producer, refused = self.producer(**settings), []
        for key, value in records:
            producer.produce(
                self.environment.topic(topic),
                value,
                key,
                on_delivery=lambda error, _: refused.append(error) if error else None,
            )
        assert producer.flush(20) == 0
        assert not refused

    def read(self, topic: str, *, committed: bool = True) -> list[Message]:
        """Everything on a topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.environment.kafka,
                "group.id": "outside",
                "enable.partition.eof": True,
                # A partition that ends with a marker says so only once a fetch found nothing.
                "fetch.wait.max.ms": 20,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
            }
        )
        name = self.environment.topic(topic)
        count = len(consumer.list_topics(name, timeout=10).topics[name].partitions)
        consumer.assign([TopicPartition(name, p, 0) for p in range(count)])
        found = []
        at_end: set[int] = set()
        until = time.monotonic() + 30
        while len(at_end) < count:
            assert time.monotonic() < until, "a partition does not come to its end"
            for message in consumer.consume(5000, 0.02):
                if message.error() is None:
                    found.append(message)
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    at_end.add(message.partition())
        consumer.close()
        return found

    def delete_records(self, topic: str) -> None:
        """Drop all that a topic has by now, as its retention does."""
        admin = AdminClient({"bootstrap.servers": self.environment.kafka})
        name = self.environment.topic(topic)
        places = [TopicPartition(name, p, OFFSET_END) for p in range(self.partitions)]
        for done in admin.delete_records(places).values():
            done.result(20)

    @contextmanager
    def transaction(self, name: str, *, abort: bool = False) -> Iterator[Callable[..., None]]:
        """An upstream's transaction; gives `produce(topic, key, value)`, which waits for Kafka."""
        producer = self.producer(**{"transactional.id": self.environment.topic(name)})
        producer.init_transactions(20)
        producer.begin_transaction()

        def produce(topic: str, key: bytes | None, value: bytes | None) -> None:
            producer.produce(self.environment.topic(topic), value, key)
            producer.flush(10)

        yield produce
        producer.abort_transaction(10) if abort else producer.commit_transaction(10)


def until(condition: Callable[[], Any], turn: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Call `turn` until the condition holds, and return what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass in time"
        turn()
    return found
