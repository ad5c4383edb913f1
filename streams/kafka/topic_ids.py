"""Notices that a topic was deleted, or deleted and created again.

A topic of the same name has records of its own: offsets, signals and counts of the former one
are about other records.  Kafka gives each topic an id.  The ids are committed beside offsets of
topics that no stage consumes, since Kafka forgets the offsets of a topic that is deleted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from confluent_kafka import KafkaException

from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.offsets import (
    MAX_MARK_BYTES,
    CommitMark,
    Committed,
    decode_mark,
    encode_mark,
)

log = logging.getLogger(__name__)

# Every stage reads both topics whole, so their offsets in a group have no other meaning.
ANCHORS = (TopicPartition("config", 0), TopicPartition("overrides", 0))
# The topics whose ids are compared, beside `signals.*`.
FOLLOWED = ("posts", "engagements", "counters", "overrides", "config")
INPUTS = ("posts", "engagements")
_LOOK_EVERY_S = 5.0


class TopicIds:
    """Compares the ids of `topics` with those that the consumer group knew before.

    Group and topics are named without the prefix.  `commit` is called once for each new id, with
    what to commit beside the offsets of `ANCHORS`.
    """

    def __init__(
        self,
        connection: Connection,
        group: str,
        topics: Sequence[str],
        commit: Callable[[Mapping[TopicPartition, tuple[int, str]]], None],
    ) -> None:
        self._trouble = "asking Kafka for the ids of topics"
        self._environment = connection.environment
        self._health = connection.health
        self._offsets = connection.offsets
        self._group = group
        self._topics = tuple(topics)
        self._commit = commit
        self._known: dict[str, str] | None = None
        self._recreated: set[str] = set()
        self._committed: Future[dict[TopicPartition, Committed]] | None = None
        self._ids: Future[dict[str, str]] | None = None
        self._look_at = 0.0

    @property
    def allow_reading(self) -> bool:
        """True once every topic is known to be the topic that the group read before."""
        return self._known is not None and not self._recreated

    def ready_reason(self) -> str:
        """Say which topic is missing or was made anew, and the way out; "" while all is well."""
        return self._trouble

    def look(self) -> None:
        """Look every few seconds; never waits."""
        if self._ids is None:
            if time.monotonic() < self._look_at:
                return
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            self._ids = self._offsets.topic_ids(self._topics)
            if self._known is None:
                self._committed = self._offsets.committed(self._group, ANCHORS)
        if not self._ids.done() or not (self._committed is None or self._committed.done()):
            return
        asked, committed = self._ids, self._committed
        self._ids = self._committed = None
        try:
            found = asked.result()
            if committed is not None:
                self._known = ids_beside(committed.result())
        except KafkaException as error:
            if self._known is None:
                self._health.report(error.args[0])
                self._look_at = 0.0
            return
        self._compare(found)

    def _compare(self, found: Mapping[str, str]) -> None:
        known = self._known or {}
        self._recreated |= {
            name for name, topic_id in found.items() if known.get(name, topic_id) != topic_id
        }
        if found.keys() - known.keys() and not self._recreated:
            # In the order of `topics`, the most important first.
            self._known = {name: found[name] for name in self._topics if name in found} | known
            self._commit(dict.fromkeys(ANCHORS, (0, _text(self._known))))
        missing = [name for name in self._topics if name not in found]
        trouble = self._recreated_text() if self._recreated else self._missing_text(missing)
        if trouble and trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble

    def _missing_text(self, missing: Sequence[str]) -> str:
        if not missing:
            return ""
        names = ", ".join(f"`{self._environment.topic(name)}`" for name in missing)
        return f"there is no topic {names}: create what is missing with `feedmill topics create`"

    def _recreated_text(self) -> str:
        environment = self._environment
        names = ", ".join(f"`{environment.topic(name)}`" for name in sorted(self._recreated))
        derived = ""
        if self._recreated.intersection(INPUTS):
            derived = " deletes what was made of the former records, and"
        return (
            f"{names} was deleted and created again: offsets and state are about other records."
            f" To go on, stop all workers, then: {command_of(environment, 'topics reset')} -"
            f" it{derived} has the group read from the beginning; --dry-run says what it would do"
        )


def command_of(environment: Environment, words: str) -> str:
    """Return a command of `feedmill` that is about this installation."""
    flags = ["--kafka", environment.kafka]
    if environment.topic_prefix:
        flags += ["--prefix", environment.topic_prefix]
    return " ".join(["feedmill", words, *flags])


def _text(ids: Mapping[str, str]) -> str:
    """Return the text to commit: the ids of the first topics, some 50 of which have room."""
    kept = dict(ids)
    while len(text := encode_mark(CommitMark(topics=kept))) > MAX_MARK_BYTES:
        kept.popitem()
    return text


def ids_beside(committed: Mapping[TopicPartition, Committed]) -> dict[str, str]:
    """Return the ids of topics that were committed beside the offsets of `ANCHORS`."""
    known: dict[str, str] = {}
    for commit in committed.values():
        known |= decode_mark(commit.text).topics
    return known
