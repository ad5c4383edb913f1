"""The producer of a replay, begun with errors that say the way out, and closed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from aiokafka.errors import KafkaError

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.clients import new_producer
from feedmill.streams.settings.environment import Environment

_START_S = 15.0


async def start_producer(
    environment: Environment, topics: Iterable[str]
) -> tuple[Any, frozenset[str]]:
    """Connect, see that these topics are there, and say which there are in all.

    Raises
    ------
    UsageError
        The broker does not answer or refuses, or a topic does not exist.
    """
    producer = new_producer(environment)
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
    return producer, frozenset(metadata.topics())


async def close_producer(producer: Any, within_s: float) -> None:
    """Wait for what is under way, at most so long and a second, and let go of everything."""
    if await _ended(producer.stop(), within_s):
        return
    # Its sender would go on trying for ever, and even cancelled it waits for the requests under
    # way; only a second cancellation ends these.
    await _ended(producer._sender.close(), 0.5)
    await _ended(producer.client.close(), 0.5)


async def _ended(closing: Coroutine[Any, Any, None], within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await closing
    except (TimeoutError, KafkaError):
        return False
    return True
