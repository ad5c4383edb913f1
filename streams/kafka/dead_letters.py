"""Dead letters: rejected records, with the reason and where they came from.

A key or value that is larger than any event may be is cut; headers have its size and sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from feedmill.streams.kafka.validation import RejectedRecord

TOPIC = "dead-letters"
# The size of the largest event (`EVENT_BYTES`): a larger value was rejected for that, or inflated.
MAX_VALUE_BYTES = 1024 * 1024
MAX_KEY_BYTES = 4096
MAX_REASON = 2000


class DeadLetter(NamedTuple):
    """A record of `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def dead_letter(rejection: RejectedRecord, stage: str, at_ms: int) -> DeadLetter:
    """Make the dead letter of a record that `stage` rejected."""
    key, value = rejection.record.key, rejection.record.value
    headers: dict[str, object] = {
        "topic": rejection.source.topic,
        "partition": rejection.source.partition,
        "offset": rejection.record.offset,
        "stage": stage,
        "at_ms": at_ms,
        "error": rejection.reason[:MAX_REASON],
    }
    if value is not None and len(value) > MAX_VALUE_BYTES:
        headers |= {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        value = value[:MAX_VALUE_BYTES]
    if key is not None and len(key) > MAX_KEY_BYTES:
        headers |= {"key_size": len(key), "key_sha256": hashlib.sha256(key).hexdigest()}
        key = key[:MAX_KEY_BYTES]
    return DeadLetter(key, value, [(name, str(text).encode()) for name, text in headers.items()])
