"""Dead letters: rejected records, with the reason and where they came from.

A key or value that is larger than any event may be is cut; headers have its size and sha256.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

from feedmill.streams.kafka.producing import BatchProducer, Headers
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.settings.clock import now_ms

log = logging.getLogger(__name__)

TOPIC = "dead-letters"
# The size of the largest event (`EVENT_BYTES`): a larger value was rejected for that, or inflated.
MAX_VALUE_BYTES = 1024 * 1024
MAX_KEY_BYTES = 4096
_MAX_REASON = 2000
_LOG_EVERY_S = 10.0


class DeadLetter(NamedTuple):
    """A record of `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def dead_letter(rejection: RejectedRecord, stage: str, at_ms: int) -> DeadLetter:
    """Make the dead letter of a record that `stage` rejected."""
    key, value = rejection.record.key, rejection.record.value
    headers: dict[str, object] = {
        "topic": rejection.source.topic,
        "partition": rejection.source.partition,
        "offset": rejection.record.offset,
        "stage": stage,
        "at_ms": at_ms,
        "error": rejection.reason[:_MAX_REASON],
    }
    if value is not None and len(value) > MAX_VALUE_BYTES:
        headers |= {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        value = value[:MAX_VALUE_BYTES]
    if key is not None and len(key) > MAX_KEY_BYTES:
        headers |= {"key_size": len(key), "key_sha256": hashlib.sha256(key).hexdigest()}
        key = key[:MAX_KEY_BYTES]
    return DeadLetter(key, value, [(name, str(text).encode()) for name, text in headers.items()])


class DeadLetters:
    """Writes a dead letter for each rejected record of a stage, and logs one every ten seconds.

    `count` is how many were written since the start.
    """

    def __init__(self, stage: str, producer: BatchProducer) -> None:
        self.count = 0
        self._stage = stage
        self._producer = producer
        self._logged_at = -_LOG_EVERY_S
        self._logged_count = 0

    def add(self, rejected: Iterable[RejectedRecord]) -> None:
        """Hand the dead letters to the producer, which sends them with its next flush."""
        for rejection in rejected:
            self.count += 1
            letter = dead_letter(rejection, self._stage, now_ms())
            self._producer.add_alone(TOPIC, letter.key, letter.value, letter.headers)
            self._log(rejection)

    def _log(self, rejection: RejectedRecord) -> None:
        if time.monotonic() - self._logged_at < _LOG_EVERY_S:
            return
        log.warning(
            "%d records rejected since the start, %d since the last such line; the last one:"
            " %s[%d] offset %d: %s",
            self.count,
            self.count - self._logged_count,
            *rejection.source,
            rejection.record.offset,
            rejection.reason,
        )
        self._logged_at, self._logged_count = time.monotonic(), self.count
