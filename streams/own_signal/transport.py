"""Faust's transport with the settings that the contract asks of clients, and credentials."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from feedmill.streams.own_signal.bounded_batches import bound_batches

# Of a longer row of offsets without a record Faust does not list each.
_LISTED_OFFSETS = 100_000
_LOOK_EVERY_S = 0.05
# A partition whose records wait in the client is left out of the next fetch, so that newer ones
# wait as long as that fetch; Faust's own 1500 ms would delay a signal by as much.
_FETCH_WAIT_MS = 50


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, which Faust does only when it writes transactions."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these; the consumer reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        bound_batches()
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
