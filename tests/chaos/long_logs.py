"""Topics of hundreds of thousands of records, read by librdkafka, faster than by kafka-python."""

import json
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from builders.engine import Engine
from builders.engine_topics import letter_positions
from chaos.verdict import Position


def records(engine: Engine, topic: str) -> Iterator[Message]:
    """Every committed record of a topic up to where it ends now."""
    name = engine.topic(topic)
    consumer = Consumer(
        {
            "bootstrap.servers": engine.kafka,
            "group.id": "chaos",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        partitions = set(consumer.list_topics(name, timeout=30).topics[name].partitions)
        consumer.assign([TopicPartition(name, p, 0) for p in partitions])
        while partitions:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    partitions.discard(message.partition())
                else:
                    raise AssertionError(f"{name}: {error}")
    finally:
        consumer.close()


def dead_letter_positions(engine: Engine) -> list[Position]:
    """Which records have dead letters, once for each letter, also those in range letters."""
    found: list[Position] = []
    for message in records(engine, "dead-letters"):
        found += letter_positions(message.headers(), message.value())
    return found


def last_counts(engine: Engine) -> dict[str, list[int]]:
    """The counts of every post, in the order of kinds."""
    last = {message.key().decode(): message.value() for message in records(engine, "counters")}
    return {
        post_id: json.loads(value)["counters"]["counts"] for post_id, value in last.items() if value
    }
