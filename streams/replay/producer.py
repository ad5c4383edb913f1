"""The producer of a replay: idempotent, acks=all, and errors that say the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment

_START_S = 15.0


async def start_producer(environment: Environment, topics: Iterable[str]) -> Any:
    """Connect, and see that the topics are there.

    Raises
    ------
    UsageError
        The broker does not answer or refuses, or a topic does not exist.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=environment.kafka,
        client_id="feedmill-replay",
        enable_idempotence=True,
        acks="all",
        linger_ms=0,  # a single event leaves at once; under load batches fill while one is away
        max_batch_size=64 * 1024,
        **_security(environment),
    )
    try:
        async with asyncio.timeout(_START_S):
            await producer.start()
            metadata = await producer.client.fetch_all_metadata()
    except (KafkaError, OSError, TimeoutError) as error:
        await close_producer(producer, 1.0)
        reason = str(error) or f"no answer within {_START_S:.0f} s"
        raise UsageError(
            f"Kafka at {environment.kafka}: {reason}; start it with `feedmill local up`, or set "
            "FEEDMILL_KAFKA to the broker's host:port"
        ) from None
    missing = [name for name in map(environment.topic, topics) if name not in metadata.topics()]
    if missing:
        await close_producer(producer, 1.0)
        raise UsageError(
            f"Kafka at {environment.kafka} has no topic {', '.join(missing)}; create the topics "
            "with `feedmill topics create`, or set FEEDMILL_TOPIC_PREFIX to the prefix they have"
        )
    return producer


async def close_producer(producer: Any, within_s: float) -> None:
    """Wait for what is under way, at most so long, and let go of everything."""
    try:
        async with asyncio.timeout(within_s):
            await producer.stop()
    except (TimeoutError, KafkaError):
        # `stop` was cancelled while it flushed; its sender would go on trying for ever.
        await producer._sender.close()
        await producer.client.close()


def _security(environment: Environment) -> dict[str, object]:
    """The settings as aiokafka takes them: certificates come as a context."""
    given: dict[str, object] = dict(environment.security)
    files = {name: given.pop(f"ssl_{name}", None) for name in ("cafile", "certfile", "keyfile")}
    if str(given.get("security_protocol", "")).endswith("SSL"):
        given["ssl_context"] = create_ssl_context(**files)
    return given
