"""Offsets of topics and groups, asked for without waiting: a few requests for all partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import ClientHealth, new_admin
from feedmill.streams.settings.environment import Environment

_TIMEOUT_S = 5.0
_TOPIC_WAIT_S = 30.0


class OffsetQuery:
    """One request for the ends, beginnings or times of some partitions.

    The end is the high watermark, which open transactions do not hold back: whoever read up to
    it has seen everything that could have been committed when it was asked.
    """

    def __init__(
        self,
        admin: AdminClient,
        environment: Environment,
        specs: Mapping[TopicPartition, OffsetSpec],
    ) -> None:
        self._futures: dict[TopicPartition, Future[Any]] = {}
        if specs:
            wanted = {
                KafkaPartition(environment.topic(at.topic), at.partition): spec
                for at, spec in specs.items()
            }
            found = admin.list_offsets(
                wanted,
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=_TIMEOUT_S,
            )
            self._futures = {
                TopicPartition(environment.named(at.topic), at.partition): future
                for at, future in found.items()
            }

    def done(self) -> bool:
        return all(future.done() for future in self._futures.values())

    def result(self) -> dict[TopicPartition, int]:
        """Return the offsets; -1: there is no record at or after the time that was asked for.

        Waits for what is not `done`; raises `KafkaException`.
        """
        return {at: int(future.result().offset) for at, future in self._futures.items()}


class CommittedQuery:
    """One request for what a group committed: offsets and their metadata."""

    def __init__(
        self,
        admin: AdminClient,
        environment: Environment,
        group: str,
        sources: Sequence[TopicPartition],
    ) -> None:
        self._environment = environment
        self._future: Future[Any] | None = None
        if sources:
            wanted = [KafkaPartition(environment.topic(s.topic), s.partition) for s in sources]
            # Stable: not while a transaction that moves an offset is open; see `result`.
            found = admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(environment.group(group), wanted)],
                require_stable=True,
                request_timeout=_TIMEOUT_S,
            )
            self._future = next(iter(found.values()))

    def done(self) -> bool:
        return self._future is None or self._future.done()

    def result(self) -> dict[TopicPartition, tuple[int, str]]:
        """Return (offset, metadata); partitions without a committed offset are left out.

        Raises
        ------
        KafkaException
            The broker is away, or a transaction that moves one of the offsets is not over yet:
            ask again.
        """
        if self._future is None:
            return {}
        found: dict[TopicPartition, tuple[int, str]] = {}
        for one in self._future.result().topic_partitions:
            if one.error is not None:
                raise KafkaException(one.error)
            if one.offset >= 0:
                at = TopicPartition(self._environment.named(one.topic), one.partition)
                found[at] = (int(one.offset), one.metadata or "")
        return found


def is_unstable(error: KafkaException) -> bool:
    """Whether it says that a transaction which moves an offset is open still."""
    return bool(error.args[0].code() == KafkaError.UNSTABLE_OFFSET_COMMIT)


def partition_count(
    environment: Environment, health: ClientHealth, topic: str, stopping: threading.Event
) -> int:
    """Return how many partitions a topic has, however long Kafka is away; 0 when stopped.

    Raises
    ------
    UsageError
        Kafka is there, and the topic has not been for half a minute.
    """
    name = environment.topic(topic)
    admin = new_admin(environment, health)
    missing_since: float | None = None
    while not stopping.is_set():
        try:
            found = admin.list_topics(topic=name, timeout=2).topics[name]
        except KafkaException as error:
            health.report(error.args[0])
        else:
            if found.error is None and found.partitions:
                return len(found.partitions)
            now = time.monotonic()
            missing_since = now if missing_since is None else missing_since
            if now - missing_since > _TOPIC_WAIT_S:
                raise UsageError(
                    f"there is no topic `{name}` at {environment.kafka}; create it with"
                    " `feedmill topics create`, or mind FEEDMILL_TOPIC_PREFIX"
                )
        stopping.wait(0.2)
    return 0
