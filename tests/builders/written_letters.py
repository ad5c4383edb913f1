"""Dead letters as a worker writes them, put on the topic by a plain producer."""

from collections.abc import Sequence

from builders.kafka_log import KafkaLog
from feedmill.streams.kafka.batches import FetchedRecord, Outgoing, TopicPartition
from feedmill.streams.kafka.dead_letters import (
    TOPIC,
    OffsetRange,
    RangeLetter,
    RangeReason,
    dead_letter,
    encode_range_letter,
)
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
    rejected = RejectedRecord(TopicPartition(topic, 0), record, reason)
    _write(log, dead_letter(rejected, "worker", 7, TopicPartition("posts", 0)))


def write_range_letter(
    log: KafkaLog, ranges: Sequence[tuple[int, int]], *, topic: str = "posts", reason: str = "why"
) -> None:
    """Write a range letter of records in partition 0."""
    spans = tuple(OffsetRange(*span) for span in ranges)
    count = sum(last - first + 1 for first, last in spans)
    reasons = (RangeReason(spans[0].first, reason),)
    _write(
        log,
        encode_range_letter(
            RangeLetter(topic, 0, count, spans, reasons), "worker", 7, TopicPartition("posts", 0)
        ),
    )


def _write(log: KafkaLog, letter: Outgoing) -> None:
    producer = log.producer()
    producer.produce(
        log.environment.topic(TOPIC), letter.value, letter.key, 0, headers=list(letter.headers)
    )
    assert producer.flush(20) == 0
