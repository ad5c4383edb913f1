"""Copies what people and the product wrote under another prefix: for `feedmill topics copy`.

What workers write is about offsets of the other topics, so it is made anew from what is copied.
Each record keeps its key, value, headers and stamp, by which users are counted and windows go; the
partitions of a topic are merged by stamps, as near copies are told in the order of time.  Records
and the offsets up to which they are copied are one transaction, so a copy that is run again goes on
where the last copy ended.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.events.errors import UsageError
from feedmill.operations.changes import Audited, MadeBy, open_changes
from feedmill.operations.moved_records import OFFSET_FIELDS, MovedRecords
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.client import (
    ClientHealth,
    kafka_errors,
    new_log_consumer,
    new_producer,
)
from feedmill.streams.kafka.topic_reader import TopicRecord, count_partitions, open_topic, read_all
from feedmill.streams.kafka.topics import keep_stamps

# Settings come before what they are about.
COPIED = ("config", "models", "overrides", "posts", "engagements", "exposures", "labels")
# The group whose offsets say how far the other topics are copied, and the transactional id.
GROUP = "topics-copy"
# Kafka ends a transaction after five seconds.
_RECORDS, _SECONDS = 5_000, 1.0
_ANSWER_S = 30.0


def copy_topics(environment: Environment, from_prefix: str, made_by: MadeBy) -> dict[str, int]:
    """Copy all that is new under another prefix to `environment`; return how much of each topic.

    Raises `UsageError`: a topic is missing, the prefix is that of `environment`, or Kafka refuses
    or is away.
    """
    if from_prefix == environment.topic_prefix:
        raise UsageError(f"--from-prefix: expected another prefix than '{from_prefix}'")
    count_partitions(replace(environment, topic_prefix=from_prefix), COPIED)
    names = [environment.topic(topic) for topic in COPIED]
    with open_changes(environment, made_by) as changes:
        changes.announce(*(Audited(t, after={"copied_from": from_prefix}) for t in COPIED))
    with (
        kafka_errors(environment),
        keep_stamps(environment.kafka, environment.security, names),
        closing(_Copier(environment, from_prefix)) as copier,
    ):
        return {topic: copier.copy(topic) for topic in COPIED}


class _Copier:
    """Reads the topics of a prefix, and writes the records under the other, in transactions."""

    def __init__(self, environment: Environment, from_prefix: str) -> None:
        self._environment = environment
        self._source = replace(environment, topic_prefix=from_prefix)
        self._producer = new_producer(environment, ClientHealth(), transactional_id=GROUP)
        # A former run, if it lives, writes nothing from now on.
        self._producer.init_transactions(_ANSWER_S)
        self._group = new_log_consumer(environment, ClientHealth(), group=GROUP)
        self._moved = MovedRecords(environment, self._producer)

    def copy(self, topic: str) -> int:
        """Copy a topic from where the last run ended to where it ends now."""
        count = 0
        if topic in OFFSET_FIELDS:
            self._moved.offsets[topic] = self._copied_before(topic)
        with ExitStack() as opened:
            records = self._records(opened, topic)
            while (taken := self._copy_some(topic, records)) > 0:
                count += taken
        return count

    def close(self) -> None:
        self._group.close()

    def _copied_before(self, topic: str) -> dict[int, int]:
        """Where earlier runs wrote the records of a topic, which all have one partition."""
        new = {(one.key, one.at_ms): one.offset for one in read_all(self._environment, topic)}
        source = read_all(self._source, topic) if new else ()
        places = {one.offset: new.get((one.key, one.at_ms)) for one in source}
        return {old: offset for old, offset in places.items() if offset is not None}

    def _records(self, opened: ExitStack, topic: str) -> Iterator[TopicRecord]:
        count = count_partitions(self._source, [topic])[topic]
        name = self._source.topic(topic)
        asked = [KafkaPartition(name, partition) for partition in range(count)]
        logs = []
        for at in self._group.committed(asked, _ANSWER_S):
            reader = opened.enter_context(open_topic(self._source, topic, at.partition))
            reader.seek_to_beginning() if at.offset < 0 else reader.seek(at.partition, at.offset)
            logs.append(reader.read_to_end())
        return heapq.merge(*logs, key=lambda record: record.at_ms)

    def _copy_some(self, topic: str, records: Iterator[TopicRecord]) -> int:
        """Copy some in one transaction, with how far they are; return how many."""
        ends: dict[int, int] = {}
        count, until = 0, time.monotonic() + _SECONDS
        self._producer.begin_transaction()
        try:
            for record in records:
                ends[record.partition] = record.offset + 1
                count += 1
                # Of a batch that inflates too far no reader has the records.
                if not isinstance(record.value, PassedBatch):
                    self._moved.write(topic, record)
                if count >= _RECORDS or time.monotonic() > until:
                    break
            self._commit(self._source.topic(topic), ends)
        except BaseException:
            self._producer.abort_transaction(_ANSWER_S)
            raise
        return count

    def _commit(self, name: str, ends: Mapping[int, int]) -> None:
        if ends:
            self._producer.send_offsets_to_transaction(
                [KafkaPartition(name, partition, end) for partition, end in ends.items()],
                self._group.consumer_group_metadata(),
                _ANSWER_S,
            )
        self._producer.commit_transaction(_ANSWER_S)
