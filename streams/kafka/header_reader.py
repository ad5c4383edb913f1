"""For commands: the headers of a small topic's records, by librdkafka."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, KafkaException, Message, TopicPartition

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.client import ClientHealth, new_log_consumer
from feedmill.streams.settings.environment import Environment

Headers = Mapping[str, str]
_TIMEOUT_S = 10.0
_MOST_RECORDS = 1_000


def read_headers(environment: Environment, topic: str) -> dict[int, Headers]:
    """Return the headers of those records of partition 0 that have some, by offset.

    Reads the topic, named without the prefix, to its end of now.

    Raises
    ------
    UsageError
        Kafka does not answer, or there is no such topic.
    """
    consumer = new_log_consumer(environment, ClientHealth())
    found: dict[int, Headers] = {}
    try:
        at = TopicPartition(environment.topic(topic), 0, OFFSET_BEGINNING)
        begin, end = consumer.get_watermark_offsets(at, timeout=_TIMEOUT_S)
        consumer.assign([at])
        position = begin
        while position < end:
            for message in consumer.consume(_MOST_RECORDS, 0.2):
                headers = _texts(message)
                if headers:
                    found[message.offset() or 0] = headers
            position = max(position, consumer.position([at])[0].offset)
    except KafkaException as error:
        reason = error.args[0].str() if error.args else error
        raise UsageError(f"Kafka at {environment.kafka}: {reason}; try again") from None
    finally:
        consumer.close()
    return found


def _texts(message: Message) -> Headers:
    if message.error() is not None:
        return {}
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
        for name, value in message.headers() or ()
    }
