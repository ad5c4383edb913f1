"""Dead letters as a worker writes them, put on the topic by a plain producer."""

from __future__ import annotations

from builders.kafka_log import KafkaLog
from feedmill.streams.kafka.batches import FetchedRecord, TopicPartition
from feedmill.streams.kafka.dead_letters import TOPIC, dead_letter
from feedmill.streams.kafka.validation import RejectedRecord

BAD_POST = b'{"post_id":"p1","author_id":7,"created_at_ms":1700000000001,"text":"x"}'
GOOD_POST = b'{"post_id":"p1","author_id":"7","created_at_ms":1700000000001,"text":"x"}'


def write_letter(
    log: KafkaLog,
    key: bytes | None,
    value: bytes | None,
    *,
    topic: str = "posts",
    offset: int = 0,
    reason: str = "Expected `str`, got `int` - at `$.author_id`",
) -> None:
    """Write the dead letter of a record that stood in partition 0."""
    record = FetchedRecord(offset, 1_700_000_000_000, key, value)
    letter = dead_letter(RejectedRecord(TopicPartition(topic, 0), record, reason), "worker", 7)
    producer = log.producer()
    producer.produce(
        log.environment.topic(TOPIC), letter.value, letter.key, 0, headers=list(letter.headers)
    )
    assert producer.flush(20) == 0
