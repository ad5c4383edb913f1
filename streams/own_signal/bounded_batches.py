"""Bounds what aiokafka inflates: a compressed batch beyond that has no records, and is passed.

aiokafka inflates a batch whole, whatever it holds: each is inflated here first, up to the bound.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

log = logging.getLogger(__name__)

MAX_INFLATED_BYTES = 8 * 1024 * 1024
# Written and never read, so any thread may use it.
_ROOM = bytearray(MAX_INFLATED_BYTES)
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_ZLIB_GZIP = 31
# Of a batch in version 2, where its length stands, from where on that counts, and its header.
_LENGTH_AT, _BEFORE_LENGTH, _HEADER_BYTES = 8, 12, 61
# What Java's clients write before blocks of snappy, each with its length.
_BLOCKS, _BLOCKS_AT = b"\x82SNAPPY\0", 16


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


def is_bounded(codec: int, payload: memoryview) -> bool:
    """Whether the records of a batch, compressed by a codec of Kafka, take at most 8 MiB.

    What cannot be inflated does not.
    """
    try:
        if codec == _GZIP:
            return _is_bounded_gzip(payload)
        if codec == _SNAPPY:
            return _snappy_bytes(payload) <= MAX_INFLATED_BYTES
        if codec in (_LZ4, _ZSTD):
            inflate = cramjam.lz4.decompress_into if codec == _LZ4 else cramjam.zstd.decompress_into
            inflate(payload, _ROOM)
    except (cramjam.DecompressionError, zlib.error):
        return False
    return True


def _is_bounded_gzip(payload: memoryview) -> bool:
    rest: bytes | memoryview = payload
    size = 0
    while rest and size <= MAX_INFLATED_BYTES:
        inflating = zlib.decompressobj(_ZLIB_GZIP)
        size += len(inflating.decompress(rest, MAX_INFLATED_BYTES + 1 - size))
        rest = inflating.unused_data
    return size <= MAX_INFLATED_BYTES


def _snappy_bytes(payload: memoryview) -> int:
    if payload[: len(_BLOCKS)] != _BLOCKS:
        return int(cramjam.snappy.decompress_raw_len(payload))
    size, at = 0, _BLOCKS_AT
    while at < len(payload):
        end = at + 4 + int.from_bytes(payload[at : at + 4], "big")
        size += int(cramjam.snappy.decompress_raw_len(payload[at + 4 : end]))
        at = end
    return size
