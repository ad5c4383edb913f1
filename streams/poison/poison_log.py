"""Follows `poison`: which posts no worker with certain stages judges, since they would end it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from feedmill.events.reasons import DECODE_ERRORS, MAX_REASON_CHARACTERS
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.worker.step import Writer

log = logging.getLogger(__name__)

TOPIC = "poison"
_SOURCE = TopicPartition(TOPIC, 0)
_MOST_RECORDS = 1000
# Rare; a cycle without one should cost little.
_READ_EVERY_S = 0.1
_KEY = re.compile(r"[^/]+/posts/(\d{1,9})/(\d{1,18})")
_NONE: Mapping[int, str] = {}


class Poison(msgspec.Struct, frozen=True):
    """A value of the topic: the stages whose worker the post ends, and how it does."""

    stages: tuple[str, ...]
    reason: str
    at_ms: int = 0


class PoisonLog:
    """The posts that these stages must not judge, by partition and offset.

    Parameters
    ----------
    connection
        To Kafka.
    stages
        Those of the worker that judge posts.

    Attributes
    ----------
    is_restored
        Whether it was read to its end.
    """

    def __init__(self, connection: Connection, stages: Sequence[str]) -> None:
        self._stages = tuple(stages)
        self._by_partition: dict[int, dict[int, str]] = {}
        self._read_at = 0.0
        self.is_restored = False
        self._log = LogConsumer(connection, TOPIC, past_hanging=(TOPIC,))
        self._log.add({_SOURCE: BEGINNING})

    def of(self, partition: int) -> Mapping[int, str]:
        """Return why posts of a partition are not judged, by their offsets; nearly always none."""
        return self._by_partition.get(partition, _NONE)

    def follow(self) -> None:
        """Read on, without waiting."""
        now = time.monotonic()
        if now >= self._read_at:
            for batch in self._log.read(_MOST_RECORDS):
                for record in batch.records:
                    self._take((record.key or b"").decode("utf-8", "replace"), record.value)
            self.is_restored = self.is_restored or self._log.all_restored()
            self._read_at = now + _READ_EVERY_S if self.is_restored else now

    def add(self, partition: int, record: Record, reason: str, at_ms: int, writer: Writer) -> None:
        """Keep a post from being judged from now on, and write it down for others."""
        key = f"{'+'.join(self._stages)}/posts/{partition}/{record.offset}"
        value = msgspec.json.encode(Poison(self._stages, reason[:MAX_REASON_CHARACTERS], at_ms))
        self._take(key, value)
        writer.add(TOPIC, key.encode(), value, owner=partition, partition=0)

    def ready_reason(self) -> str:
        """Say that it is read still; "" if it is not."""
        return self._log.ready_reason()

    def close(self) -> None:
        self._log.close()

    def _take(self, key: str, value: bytes | None) -> None:
        found = _KEY.fullmatch(key)
        if found is None:
            log.error("%s: a record with the key %.100r is no post's: ignored", TOPIC, key)
            return
        partition, offset = int(found[1]), int(found[2])
        try:
            poison = msgspec.json.decode(value, type=Poison) if value else None
        except DECODE_ERRORS as error:
            log.error("%s: the record of %s cannot be read: %s", TOPIC, key, error)
            return
        posts = self._by_partition.setdefault(partition, {})
        if poison is None:
            posts.pop(offset, None)
        elif set(poison.stages).intersection(self._stages):
            posts[offset] = poison.reason
