"""Knows when the signals that this worker wrote can be read from Kafka again."""

from __future__ import annotations

import logging
import time

import msgspec

from feedmill.events.post import Deletion
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.streams.kafka.batches import Record, RecordBatch
from feedmill.streams.worker.step import LatestEvent

log = logging.getLogger(__name__)

_UNSEEN_WITHIN_S = 60.0


class _SignalOffset(msgspec.Struct):
    post_offset: int


_decode_offset = msgspec.json.Decoder(_SignalOffset).decode


def _is_shown_by(last: LatestEvent, record: Record) -> bool:
    """Whether a record of the signals is of this version, or a later one."""
    if record.key != (last.record.key or b""):
        return False
    if not record.value:
        return isinstance(last.event, Deletion)
    try:
        return _decode_offset(record.value).post_offset >= last.record.offset
    except DECODE_ERRORS:
        return False


class UnseenSignals:
    """What was written last of some partitions of a topic: it may not be committed yet."""

    def __init__(self, topic: str, last: dict[int, LatestEvent]) -> None:
        self._topic = topic
        self._last = last
        self._began_at = time.monotonic()

    def see(self, batch: RecordBatch) -> None:
        """Take note of a batch of the signals."""
        last = self._last.get(batch.source.partition)
        if last is not None and any(_is_shown_by(last, one) for one in batch.records):
            del self._last[batch.source.partition]

    def wait(self) -> bool:
        """Whether signals of this worker are still to be committed; given up after a minute."""
        if self._last and time.monotonic() - self._began_at > _UNSEEN_WITHIN_S:
            log.warning("the last signals of %s do not appear on their topic", self._topic)
            self._last.clear()
        return bool(self._last)
