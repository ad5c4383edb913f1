"""Bounds what aiokafka inflates: a compressed batch beyond that has no records, and is passed.

aiokafka inflates a batch whole, whatever it holds: each is inflated here first, up to the bound.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from feedmill.streams.kafka.batch_headers import is_bounded
from feedmill.streams.kafka.client import MAX_INFLATED_BYTES

log = logging.getLogger(__name__)

# Of a batch in version 2, where its length stands, from where on that counts, and its header.
_LENGTH_AT, _BEFORE_LENGTH, _HEADER_BYTES = 8, 12, 61


def bound_batches() -> None:
    """Have all of aiokafka's consumers in this process pass such batches; it has no setting."""
    fetcher.MemoryRecords = BoundedRecords


class BoundedRecords:
    """The batches of an answer, as aiokafka's `MemoryRecords` hands them out."""

    def __init__(self, answer: bytes) -> None:
        self._batches: Any = MemoryRecords(answer)
        self._answer = memoryview(answer)
        self._at = 0

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def size_in_bytes(self) -> int:
        return len(self._answer)

    def next_batch(self) -> Any:
        """Return the next batch, one without records if it inflates beyond the bound."""
        batch = self._batches.next_batch()
        start, length_at = self._at, self._at + _LENGTH_AT
        length = int.from_bytes(self._answer[length_at : length_at + 4], "big")
        self._at = start + _BEFORE_LENGTH + length
        payload = self._answer[start + _HEADER_BYTES : self._at]
        if is_bounded(batch.compression_type, payload):
            return batch
        log.warning(
            "passed a batch that inflates beyond %d MiB, offsets %d to %d",
            MAX_INFLATED_BYTES // 1024 // 1024,
            batch.base_offset,
            batch.next_offset - 1,
        )
        return _PassedBatch(batch)


class _PassedBatch:
    """A batch of which only the header counts."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(())
