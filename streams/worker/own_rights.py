"""Whether the user of a process may do what the process needs, as Kafka itself tells.

A request that is refused names no topic, a client tells of some refusals once, and a right may be
gone before it is used again.  So where processes sign in Kafka is asked every few seconds, and soon
after a refusal.  Of transactional ids Kafka does not tell.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from confluent_kafka import KafkaException

from feedmill.streams.kafka.client import refusal
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.rights import KafkaRight

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 4.0
# How soon after a refusal Kafka is asked; and how long one that only a fault causes is told.
_LOOK_SOON_S, _FAULT_HOLDS_S = 0.5, 15.0


class OwnRights:
    """Looks which of these rights on topics its user lacks, and Read of its group, if it has one.

    The group is named in full.  Used by one thread.
    """

    def __init__(
        self, connection: Connection, needed: Sequence[KafkaRight], group: str = ""
    ) -> None:
        self._connection, self._group = connection, group
        self._needed = [right for right in needed if right.kind == "topic"]
        self._asked: Future[tuple[dict[str, set[str]], set[str] | None]] | None = None
        self._trouble, self._fault = "", ""
        self._look_at = self._seen = 0.0

    def ready_reason(self) -> str:
        """Name a right that is missing; "" when none is known to be."""
        is_refused = time.monotonic() - self._connection.health.refused_at < _FAULT_HOLDS_S
        return self._trouble or (self._fault if is_refused else "")

    def look(self) -> None:
        """Ask when a question is due, and take its answer; never waits."""
        now, refused_at = time.monotonic(), self._connection.health.refused_at
        if refused_at > self._seen:
            self._seen = max(now, refused_at)
            self._look_at = min(self._look_at, now + _LOOK_SOON_S)
        if self._asked is None:
            if now < self._look_at:
                return
            topics = sorted({right.name for right in self._needed})
            # Only where it matters: librdkafka aborts where an answer about a group comes late.
            group = self._group if self._connection.health.group_is_refused else ""
            self._asked = self._connection.offsets.operations(topics, group)
            self._look_at = math.inf
        if not self._asked.done():
            return
        asked, self._asked = self._asked, None
        if asked.exception() is None:
            before, missing = self._trouble, [*self._missing(*asked.result())]
            self._trouble = next((text for text, at_faults in missing if not at_faults), "")
            self._fault = next((text for text, at_faults in missing if at_faults), "")
            if self._trouble and self._trouble != before:
                log.error("%s", self._trouble)
        elif not isinstance(asked.exception(), KafkaException):
            asked.result()
        signs_in = bool(self._connection.environment.security)
        if signs_in or self.ready_reason() or asked.exception():
            self._look_at = min(self._look_at, now + _LOOK_EVERY_S)

    def _missing(
        self, topics: dict[str, set[str]], group: set[str] | None
    ) -> Iterator[tuple[str, bool]]:
        environment = self._connection.environment
        for right in self._needed:
            if right.operation not in topics.get(right.name, {right.operation}):
                name = f"topic `{environment.topic(right.name)}`"
                yield refusal(environment, right.operation, name), right.at_faults
        if group is not None:
            self._connection.health.group_is_refused = "Read" not in group
        if self._connection.health.group_is_refused and self._group:
            yield refusal(environment, "Read", f"group `{self._group}`"), False
