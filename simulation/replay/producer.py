"""Starts the producer of a replay with clear errors, and closes it within a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.clients import new_producer
from feedmill.streams.settings.environment import Environment

_START_S = 15.0


async def start_producer(
    environment: Environment, topics: Iterable[str]
) -> tuple[Any, frozenset[str]]:
    """Connect, check that these topics exist, and return the producer and all topics there are.

    Raises
    ------
    UsageError
        The broker does not answer or refuses, or one of the topics does not exist.
    """
    producer = new_producer(environment)
    try:
        async with asyncio.timeout(_START_S):
            await producer.start()
            metadata = await producer.client.fetch_all_metadata()
    except (KafkaError, OSError, TimeoutError) as error:
        await close_producer(producer, 1.0)
        reason = str(error) or f"no answer within {_START_S:.0f} s"
        if isinstance(error, KafkaConnectionError):
            reason = "cannot connect"
        raise UsageError(
            f"Kafka at {environment.kafka}: {reason}; start it (`feedmill local up` starts a local"
            " one), or correct --kafka, FEEDMILL_KAFKA or the credentials"
        ) from None
    missing = [name for name in map(environment.topic, topics) if name not in metadata.topics()]
    if missing:
        await close_producer(producer, 1.0)
        raise UsageError(
            f"Kafka at {environment.kafka} has no topic {', '.join(missing)}; create the topics "
            "with `feedmill topics create`, or give the right --prefix"
        )
    return producer, frozenset(metadata.topics())


async def close_producer(producer: Any, within_s: float) -> None:
    """Close the producer; what is not acknowledged `within_s` is given up, within a second more."""
    if await _ends_within(producer.stop(), within_s):
        return
    # aiokafka's sender retries for ever, and even when cancelled waits for its requests; only a
    # second cancellation ends these.
    await _ends_within(producer._sender.close(), 0.5)
    await _ends_within(producer.client.close(), 0.5)


async def _ends_within(closing: Coroutine[Any, Any, None], timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await closing
    except (TimeoutError, KafkaError):
        return False
    return True
