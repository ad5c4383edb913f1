"""Dead letters: what was refused, as it came, with the reason and where it stood.

What is larger than any event may be is cut, with its size and sha256 in the headers.
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
# The size of the largest event (`EVENT_BYTES`): what is larger was refused for that, or inflated.
MAX_VALUE_BYTES = 1024 * 1024
MAX_KEY_BYTES = 4096
_MAX_REASON = 2000
_SAY_EVERY_S = 10.0


class DeadLetter(NamedTuple):
    """A record of `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def dead_letter(one: RejectedRecord, stage: str, at_ms: int) -> DeadLetter:
    """Make the dead letter of a refused record; `stage` is who refused it."""
    key, value = one.record.key, one.record.value
    found: dict[str, object] = {
        "topic": one.source.topic,
        "partition": one.source.partition,
        "offset": one.record.offset,
        "stage": stage,
        "at_ms": at_ms,
        "error": one.reason[:_MAX_REASON],
    }
    if value is not None and len(value) > MAX_VALUE_BYTES:
        found |= {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        value = value[:MAX_VALUE_BYTES]
    if key is not None and len(key) > MAX_KEY_BYTES:
        found |= {"key_size": len(key), "key_sha256": hashlib.sha256(key).hexdigest()}
        key = key[:MAX_KEY_BYTES]
    return DeadLetter(key, value, [(name, str(text).encode()) for name, text in found.items()])


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
            letter = dead_letter(one, self._stage, now_ms())
            self._producer.add_alone(TOPIC, letter.key, letter.value, letter.headers)
            self._say(one)

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
