"""Batches that are small until they are inflated, written by hand and sent by a plain socket.

A client would hold all of what it compresses; here the records are compressed piece by piece.
"""

import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import cramjam
from aiokafka.record.util import calc_crc32c, encode_varint
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

# The number that a batch's header has for each codec.
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
MIB = 1024 * 1024
# Far below the largest record of a topic: it is the batch that is too large.
RECORD_BYTES = 500_000
_ZEROS = bytes(64 * 1024)
_XERIAL_BLOCK = 32 * 1024
_ANSWER_S = 120.0


class Sent(NamedTuple):
    """The offsets of a batch in its partition."""

    first: int
    last: int


def bomb(
    codec: str, inflated: int, *, record_bytes: int = RECORD_BYTES, key: bytes = b"bomb"
) -> bytes:
    """Return a record batch, version 2, of zeros that inflate to about so many bytes."""
    count = max(1, inflated // record_bytes)
    payload = _COMPRESSED[codec](_records(count, record_bytes, key))
    now_ms = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", CODECS[codec], count - 1, now_ms, now_ms, -1, -1, -1, count)
    body += payload
    crc = calc_crc32c(body)
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(body), -1, 2, crc) + body


def send_batch(
    kafka: str, topic: str, partition: int, batch: bytes, transactional_id: str | None = None
) -> Sent:
    """Write a batch as it is, acks=all; `kafka` is the broker that leads the partition.

    Raises
    ------
    RefusedBatch
        The broker refuses it.
    """
    request = b"\xff\xff" if transactional_id is None else text_of(transactional_id)
    request += struct.pack(">hii", -1, int(_ANSWER_S * 1000), 1) + text_of(topic)
    request += struct.pack(">iii", 1, partition, len(batch)) + batch
    answer = ask(kafka, (0, 7), request)
    # Behind the count of topics, the name, the count of partitions and the partition.
    code, first = struct.unpack_from(">hq", answer, 4 + 2 + len(topic) + 4 + 4)
    if code:
        raise RefusedBatch(code)
    (count,) = struct.unpack_from(">i", batch, 57)
    return Sent(first, first + count - 1)


def ask(kafka: str, api: tuple[int, int], body: bytes) -> bytes:
    """Send a broker a request of an api key and version; what it answers."""
    host, port = kafka.split(",", maxsplit=1)[0].rsplit(":", 1)
    request = struct.pack(">hhih", *api, 1, -1) + body
    with (
        socket.create_connection((host, int(port)), timeout=_ANSWER_S) as broker,
        broker.makefile("rb") as answers,
    ):
        broker.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", answers.read(4))
        # Without its correlation id.
        return answers.read(size)[4:]


def text_of(text: str) -> bytes:
    """A string as requests have it."""
    return struct.pack(">h", len(text)) + text.encode()


def keep_codecs(kafka: str, *topics: str) -> None:
    """Have the broker store batches as they come, as in topics that feedmill did not create."""
    admin = AdminClient({"bootstrap.servers": kafka})
    kept = ConfigEntry("compression.type", "producer", incremental_operation=AlterConfigOpType.SET)
    changed = [
        ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[kept])
        for topic in topics
    ]
    for future in admin.incremental_alter_configs(changed).values():
        future.result(30)


class RefusedBatch(Exception):
    """The broker does not take a batch; its argument is Kafka's error code."""


def _records(count: int, record_bytes: int, key: bytes) -> Iterator[bytes]:
    for number in range(count):
        start = bytearray(b"\0\0")  # attributes, and no time after the first record
        for length in (number, len(key)):
            encode_varint(length, start.append)
        start += key
        encode_varint(record_bytes, start.append)
        size = bytearray()
        encode_varint(len(start) + record_bytes + 1, size.append)
        yield bytes(size + start)
        for _ in range(record_bytes // len(_ZEROS)):
            yield _ZEROS
        yield _ZEROS[: record_bytes % len(_ZEROS)]
        yield b"\0"  # no headers


def _plain(pieces: Iterator[bytes]) -> bytes:
    return b"".join(pieces)


def _gzip(pieces: Iterator[bytes]) -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return b"".join(map(compressor.compress, pieces)) + compressor.flush()


def _streamed(new: Callable[[], Any], pieces: Iterator[bytes]) -> bytes:
    compressor = new()
    for piece in pieces:
        compressor.compress(piece)
    return bytes(compressor.finish())


def _snappy(pieces: Iterator[bytes]) -> bytes:
    """What Java's clients write: blocks, each with its length before it."""
    blocks = [b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)]
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= _XERIAL_BLOCK:
            blocks.append(_snappy_block(waiting[:_XERIAL_BLOCK]))
            del waiting[:_XERIAL_BLOCK]
    return b"".join([*blocks, _snappy_block(waiting)])


def _snappy_block(piece: bytearray) -> bytes:
    block = bytes(cramjam.snappy.compress_raw(bytes(piece)))
    return struct.pack(">i", len(block)) + block


_COMPRESSED: dict[str, Callable[[Iterator[bytes]], bytes]] = {
    "none": _plain,
    "gzip": _gzip,
    "snappy": _snappy,
    # The broker takes blocks that do not refer to each other alone.
    "lz4": partial(
        _streamed,
        partial(cramjam.lz4.Compressor, level=9, content_checksum=False, block_linked=False),
    ),
    "zstd": partial(_streamed, cramjam.zstd.Compressor),
}
