"""Writes records of one installation again in another one, in transactions of the caller.

Each keeps its key, value, headers and stamp; its partition is that of its key.  A record that names
the offset of an earlier one of its topic, `if_offset` of a setting for example, names the new one.
"""

from __future__ import annotations

import msgspec
from confluent_kafka import KafkaError, Message

from feedmill.events.reasons import DECODE_ERRORS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import WatchedProducer
from feedmill.streams.kafka.topic_reader import TopicRecord

# By topic the fields of its values that name an offset of that topic, which has one partition.
OFFSET_FIELDS = {"config": ("if_offset",), "models": ("candidate", "ends")}
# The offset of no record: what names a record that was not written again stays without effect.
_NO_RECORD = 2**53 - 1
_ANSWER_S = 30.0


class MovedRecords:
    """Writes records through a producer with a transaction.

    Attributes
    ----------
    offsets
        By topic of `OFFSET_FIELDS` where each record stood, and where it stands.
    refused
        What Kafka said of the records that it did not take.
    """

    def __init__(self, environment: Environment, producer: WatchedProducer) -> None:
        self.offsets: dict[str, dict[int, int]] = {topic: {} for topic in OFFSET_FIELDS}
        self.refused: list[str] = []
        self._environment, self._producer = environment, producer

    def write(self, topic: str, record: TopicRecord) -> None:
        """Hand a record to the producer; raises `KafkaException` where its transaction is over."""

        def written(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.refused.append(error.str())
            elif topic in self.offsets:
                self.offsets[topic][record.offset] = message.offset()

        value = self._value(topic, record.value)
        while True:
            try:
                self._producer.produce(
                    self._environment.topic(topic),
                    value,
                    record.key,
                    on_delivery=written,
                    timestamp=record.at_ms,
                    headers=list(record.headers),
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _value(self, topic: str, value: bytes | None) -> bytes | None:
        """Replace the offsets that a value names; below 0 they stand for no record, and stay."""
        fields = [name for name in OFFSET_FIELDS.get(topic, ()) if name.encode() in (value or b"")]
        if not value or not fields:
            return value
        try:
            said = msgspec.json.decode(value)
        except DECODE_ERRORS:
            return value
        if not isinstance(said, dict):
            return value
        named = {name: said[name] for name in fields if type(said.get(name)) is int}
        self._producer.flush(_ANSWER_S)  # until the records before have their offsets
        new = self.offsets[topic]
        moved = {name: new.get(old, _NO_RECORD) for name, old in named.items() if old >= 0}
        return msgspec.json.encode({**said, **moved}) if moved else value
