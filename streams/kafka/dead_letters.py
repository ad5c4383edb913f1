"""Dead letters: what was refused, as it came, with the reason and where it stood."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from feedmill.streams.kafka.producing import BatchProducer, Headers
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.settings.clock import now_ms

log = logging.getLogger(__name__)

TOPIC = "dead-letters"
_SAY_EVERY_S = 10.0


class DeadLetters:
    """Letters what a stage refuses, and says so in the log at most every ten seconds."""

    def __init__(self, stage: str, producer: BatchProducer) -> None:
        self.count = 0
        self._stage = stage
        self._producer = producer
        self._said_at = -_SAY_EVERY_S
        self._said = 0

    def add(self, rejected: Iterable[RejectedRecord]) -> None:
        """Gather letters; they leave with the producer's next flush."""
        for one in rejected:
            self.count += 1
            self._producer.add_alone(TOPIC, one.record.key, one.record.value, self._headers(one))
            self._say(one)

    def _headers(self, one: RejectedRecord) -> Headers:
        found = {
            "topic": one.source.topic,
            "partition": one.source.partition,
            "offset": one.record.offset,
            "stage": self._stage,
            "at_ms": now_ms(),
            "error": one.reason,
        }
        return [(name, str(value).encode()) for name, value in found.items()]

    def _say(self, one: RejectedRecord) -> None:
        if time.monotonic() - self._said_at < _SAY_EVERY_S:
            return
        log.warning(
            "%d records refused so far, %d since last said; the last: %s[%d] offset %d: %s",
            self.count,
            self.count - self._said,
            *one.source,
            one.record.offset,
            one.reason,
        )
        self._said_at, self._said = time.monotonic(), self.count
