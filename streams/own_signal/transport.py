"""Faust's transport with the settings that the contract asks of clients, and credentials.

aiokafka inflates a batch whole, whatever it holds.  Each is inflated here first, up to a bound: one
beyond it has no records, and is passed.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import faust
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from feedmill.streams.kafka.batch_headers import is_bounded
from feedmill.streams.kafka.client import MAX_INFLATED_BYTES

log = logging.getLogger(__name__)

# Of a longer row of offsets without a record Faust does not list each.
_LISTED_OFFSETS = 100_000
_LOOK_EVERY_S = 0.05
# A partition whose records wait in the client is left out of the next fetch, so that newer ones
# wait as long as that fetch; Faust's own 1500 ms would delay a signal by as much.
_FETCH_WAIT_MS = 50
# Of a batch in version 2, where its length stands, from where on that counts, and its header.
_LENGTH_AT, _BEFORE_LENGTH, _HEADER_BYTES = 8, 12, 61


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, which Faust does only when it writes transactions."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these; the consumer reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        # No setting either: so all of aiokafka's consumers in this process.
        fetcher.MemoryRecords = BoundedRecords
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Note that there are no records between two offsets: a batch was passed there."""
        if offset_to - offset_from < _LISTED_OFFSETS:
            await super()._add_gap(tp, offset_from, offset_to)
            return
        while any(message.tp == tp for message in self._unacked_messages):
            await self.sleep(_LOOK_EVERY_S)
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        self._committed_offset[tp] = offset_to - 1


class _Producer(driver.Producer):
    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class SignalTransport(driver.Transport):
    """Consumes committed records, and produces so that a retry repeats and reorders nothing."""

    Consumer = _Consumer
    Producer = _Producer


def broker_credentials(security: Mapping[str, str]) -> Any:
    """TLS and SASL settings, of `CLIENT_SETTINGS`, as Faust's credentials; None without any."""
    protocol = security.get("security_protocol", "PLAINTEXT")
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=security.get("ssl_cafile"))
        if "ssl_certfile" in security:
            context.load_cert_chain(security["ssl_certfile"], security.get("ssl_keyfile"))
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=security.get("sasl_plain_username"),
            password=security.get("sasl_plain_password"),
            mechanism=security.get("sasl_mechanism", "PLAIN"),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


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
