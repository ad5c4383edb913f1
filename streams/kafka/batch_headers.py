"""Passes compressed batches that librdkafka refuses to inflate.

    _BAD_COMPRESSION at an offset ─► the batch's header, by kafka-python ─► on behind the batch

librdkafka would ask for such a batch for ever.  It inflates zstd up to the size that it takes as an
answer of a broker, and topics have `compression.type` zstd.  A batch beyond that bound is passed;
whether a batch is beyond it is found without inflating it further.
"""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import cramjam
from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError, for_code
from kafka.protocol.consumer import FetchRequest

from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import MAX_INFLATED_BYTES, ClientHealth

# The numbers of codecs in headers of batches; 0 is no compression.
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
_ZLIB_GZIP = 31
# Java's clients write this before blocks of snappy; each block begins with its length.
_BLOCKS, _BLOCKS_AT = b"\x82SNAPPY\0", 16
# A sink that nobody reads, so all threads share it.
_ROOM = bytearray(MAX_INFLATED_BYTES)


def new_admin(environment: Environment, answer_ms: int) -> KafkaAdminClient:
    """Return an admin client of kafka-python, which waits so long for an answer."""
    # kafka-python logs six lines for each connection.
    logging.getLogger("kafka").setLevel(logging.WARNING)
    return KafkaAdminClient(
        bootstrap_servers=environment.kafka.split(","),
        bootstrap_timeout_ms=answer_ms,
        request_timeout_ms=answer_ms,
        **environment.security,
    )


def is_bounded(codec: int, payload: memoryview) -> bool:
    """Return whether a batch, compressed by a codec of Kafka, inflates to at most 8 MiB.

    For a batch that cannot be inflated the answer is False.
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


_MIB = 1024 * 1024
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Of a batch in version 2: offset, length, leader epoch, version, checksum, attributes, last offset
# less the first, first and last timestamp, producer's id, epoch and sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH = 12
# An answer also has batches that follow: whoever sends one such batch may send many.
_ANSWER_BYTES = _MIB // 4
_ANSWER_MS = 5_000
# The newest class of request that kafka-python has, with names of topics.
_NEWEST_FETCH = 12
_MOST_KNOWN = 1_000


class BatchHeader(NamedTuple):
    """The header of a batch: its first and last offset, its number of records and its size."""

    first: int
    last: int
    records: int
    codec: str
    compressed_bytes: int
    at_ms: int

    @property
    def reason(self) -> str:
        """Why the batch's records are not read, for dead letters, refusals and logs."""
        return (
            f"Expected a batch that inflates to at most {MAX_INFLATED_BYTES // _MIB} MiB, got"
            f" {self.records:,} records of {self.codec}, {self.compressed_bytes:,} bytes, at"
            f" offsets {self.first} to {self.last}: no reader reads them; send them again in"
            " smaller batches"
        )


class PassedBatch(bytes):
    """The value of the record that stands for a passed batch, at the batch's last offset.

    No decoder takes it, so every reader rejects it as one bad record.
    """

    header: BatchHeader

    def __new__(cls, header: BatchHeader) -> PassedBatch:
        made = super().__new__(cls, header.reason.encode())
        made.header = header
        return made


def reason_of(value: bytes | None, error: Exception) -> str:
    """Return why a record is rejected: why its batch was passed, or else its decoder's error."""
    return value.header.reason if isinstance(value, PassedBatch) else str(error)


class BatchHeaders:
    """Asks brokers for the headers of batches, on a thread of its own; no call waits."""

    def __init__(self, environment: Environment, health: ClientHealth) -> None:
        self.environment = environment
        self._health = health
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="batch headers")
        self._lock = threading.Lock()
        # By offset the header of the batch there, and of refused batches that follow.
        self._known: dict[tuple[TopicPartition, int], Sequence[BatchHeader]] = {}
        self._asked: set[tuple[TopicPartition, int]] = set()
        self._passed: Counter[str] = Counter()
        self._admin: KafkaAdminClient | None = None

    def pass_batches(
        self, consumer: Consumer, source: TopicPartition, message: Message
    ) -> Sequence[BatchHeader]:
        """Move a consumer behind the batch that it refuses, and behind refused batches that follow.

        Return their headers; none while they are not known yet: then the consumer reports the batch
        again with its next errors.
        """
        headers = self._find(source, message.offset())
        if headers:
            behind = KafkaPartition(message.topic(), source.partition, headers[-1].last + 1)
            try:
                consumer.seek(behind)
            except KafkaException:
                # The consumer does not read this partition any more.
                return ()
            self._passed[source.topic] += len(headers)
        return headers

    def take_passed(self) -> Counter[str]:
        """Return how many batches were passed since the last call, by topic."""
        passed, self._passed = self._passed, Counter()
        return passed

    def close(self) -> None:
        """Let go of the thread; what is asked for is not answered any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _find(self, source: TopicPartition, offset: int) -> Sequence[BatchHeader]:
        at = source, offset
        with self._lock:
            found = self._known.get(at, ())
            if not found and at not in self._asked:
                self._asked.add(at)
                self._threads.submit(self._ask, source, offset)
        return found

    def _ask(self, source: TopicPartition, offset: int) -> None:
        found: list[list[BatchHeader]] = []
        try:
            found = refused_rows(self._fetch(source, offset))
        except (KafkaError, OSError) as error:
            self._health.report(
                f"cannot read the header of the batch at offset {offset} of"
                f" {self.environment.topic(source.topic)}[{source.partition}]: {error!r}"
            )
            self._discard()
        with self._lock:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            # The client reports the first batch at the offset that it asked for.
            for at, row in zip([offset, *(row[0].first for row in found[1:])], found, strict=False):
                self._known[source, at] = row
            self._asked.discard((source, offset))

    def _fetch(self, source: TopicPartition, offset: int) -> bytes:
        """Return raw batches from the one with this offset on; the last batch may be cut."""
        if self._admin is None:
            self._admin = new_admin(self.environment, _ANSWER_MS)
        name, manager = self.environment.topic(source.topic), self._admin._manager
        (topic,) = self._admin.describe_topics([name])
        leaders = {at["partition_index"]: at["leader_id"] for at in topic["partitions"]}
        asked = FetchRequest.FetchTopic.FetchPartition(
            partition=source.partition, fetch_offset=offset, partition_max_bytes=_ANSWER_BYTES
        )
        request = FetchRequest(
            min_bytes=1,
            max_wait_ms=0,
            max_bytes=_ANSWER_BYTES,
            # Uncommitted, since a batch of an open transaction is refused, too.
            isolation_level=0,
            session_id=0,
            session_epoch=-1,
            topics=[FetchRequest.FetchTopic(topic=name, partitions=[asked])],
            max_version=_NEWEST_FETCH,
        )
        answer: Any = manager.run(manager.send, request, leaders.get(source.partition))
        (partition,) = answer.responses[0].partitions
        if partition.error_code:
            raise for_code(partition.error_code)
        return bytes(partition.records or b"")

    def _discard(self) -> None:
        gone, self._admin = self._admin, None
        if gone is not None:
            with suppress(KafkaError, OSError):
                gone.close()


def refused_rows(batches: bytes) -> list[list[BatchHeader]]:
    """Return the headers of the first batch and of those that librdkafka refuses, too.

    Adjacent batches are one row.  The last batch may be cut; then it is unknown whether librdkafka
    refuses it.
    """
    found: list[list[BatchHeader]] = []
    at, follows = 0, False
    while at + _HEADER.size <= len(batches):
        first, length, _, version, _, attributes, span, _, at_ms, *_, records = _HEADER.unpack_from(
            batches, at
        )
        codec, end = attributes & 7, at + _BEFORE_LENGTH + length
        payload = memoryview(batches)[at + _HEADER.size : end]
        if version != 2:
            break
        is_refused = not found or (
            codec == ZSTD and end <= len(batches) and not is_bounded(codec, payload)
        )
        if is_refused:
            if not follows:
                found.append([])
            header = BatchHeader(first, first + span, records, _CODECS[codec], length, at_ms)
            found[-1].append(header)
        at, follows = end, is_refused
    return found
