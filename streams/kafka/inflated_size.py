"""Whether a compressed batch stays within a bound, without inflating it beyond that."""

from __future__ import annotations

import zlib

import cramjam

from feedmill.streams.kafka.client import MAX_INFLATED_BYTES

# The numbers that headers of batches have for codecs; 0 is none.
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
_ZLIB_GZIP = 31
# What Java's clients write before blocks of snappy, each with its length.
_BLOCKS, _BLOCKS_AT = b"\x82SNAPPY\0", 16
# Written and never read, so any thread may use it.
_ROOM = bytearray(MAX_INFLATED_BYTES)


def is_bounded(codec: int, payload: memoryview) -> bool:
    """Whether the records of a batch, compressed by a codec of Kafka, take at most 8 MiB.

    What cannot be inflated does not.
    """
    try:
        if codec == GZIP:
            return _is_bounded_gzip(payload)
        if codec == SNAPPY:
            return _snappy_bytes(payload) <= MAX_INFLATED_BYTES
        if codec in (LZ4, ZSTD):
            inflate = cramjam.lz4.decompress_into if codec == LZ4 else cramjam.zstd.decompress_into
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
