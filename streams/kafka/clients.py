"""Kafka and Redis clients, all made here: one place for addresses, security and safety."""

from __future__ import annotations

from typing import Any

import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.helpers import create_ssl_context

from feedmill.streams.settings.environment import Environment

# How long the broker may hold a fetch back that finds nothing new.  aiokafka leaves a
# partition whose records were not yet taken out of the next fetch, so that its newer ones
# wait behind that fetch: short while records come, long while none do.
FETCH_WAIT_BUSY_MS = 10
FETCH_WAIT_IDLE_MS = 200
MAX_FETCH_BYTES = 4 * 1024 * 1024
MAX_REQUEST_BYTES = 4 * 1024 * 1024


def kafka_settings(environment: Environment) -> dict[str, Any]:
    """Address and security, as aiokafka spells them."""
    settings: dict[str, Any] = {"bootstrap_servers": environment.kafka}
    security = dict(environment.security)
    files = {name: security.pop(f"ssl_{name}", None) for name in ("cafile", "certfile", "keyfile")}
    settings.update(security)
    if security.get("security_protocol", "PLAINTEXT").endswith("SSL"):
        settings["ssl_context"] = create_ssl_context(**files)
    return settings


def new_producer(environment: Environment) -> AIOKafkaProducer:
    """A producer that neither loses nor repeats: idempotent, acks=all."""
    return AIOKafkaProducer(
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=1024 * 1024,
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=30_000,
        **kafka_settings(environment),
    )


def new_reader(environment: Environment, **settings: Any) -> AIOKafkaConsumer:
    """A consumer without a group: whoever reads a topic whole assigns and seeks itself."""
    return AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=FETCH_WAIT_IDLE_MS,
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
        **{**kafka_settings(environment), **settings},
    )


def adapt_fetch_wait(consumer: AIOKafkaConsumer, busy: bool) -> None:
    """Have the next fetches wait as suits a consumer that just got records, or did not."""
    # aiokafka reads it for every request, and has no other way to change it.
    consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_BUSY_MS if busy else FETCH_WAIT_IDLE_MS


def new_redis(environment: Environment) -> redis.asyncio.Redis:
    """A connection that retries by itself no command: its caller decides."""
    return redis.asyncio.Redis.from_url(
        environment.redis, socket_timeout=10, socket_connect_timeout=5, decode_responses=False
    )
