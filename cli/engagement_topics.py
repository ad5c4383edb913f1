"""First impressions from the topics `posts` and `engagements`, counted as the worker counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import TypeVar, cast

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.rankers.impressions import Impressions, join
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.kafka.validation import ValidatedBatch, validate_batch
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.engagement_replay import EngagementReplay

T = TypeVar("T")
_BATCH = 1_000


def read_impressions(
    environment: Environment, wait_ms: int, since_ms: int
) -> tuple[Impressions, dict[str, int]]:
    """Read both topics from a time on to where they end now, and count them again.

    Parameters
    ----------
    environment
        Where Kafka is, and what counts.
    wait_ms
        How long after an impression a reaction belongs to it; a later impression is left out.
    since_ms
        Posts created from this time on, Unix milliseconds; 0: all.

    Returns
    -------
    The impressions, and how many were left out, by the reason.

    Raises
    ------
    UsageError
        A topic is missing.
    kafka.errors.KafkaError
        Kafka cannot be reached.
    """
    with open_topic(environment, "posts") as posts, open_topic(environment, "engagements") as log:
        for reader in (posts, log):
            if since_ms:
                reader.seek_to_time(since_ms)
            else:
                reader.seek_to_beginning()
        replays = [EngagementReplay(environment, wait_ms) for _ in range(log.partitions)]
        for partition, of_posts in _batches(posts, "posts", decode_post):
            replays[partition].add_posts(of_posts.events)
        for partition, engagements in _batches(log, "engagements", decode_engagement):
            replays[partition].count(engagements.events)
    end_ms = max(replay.last_ms for replay in replays)
    found = join([replay.impressions(end_ms) for replay in replays])
    left_out = sum((replay.left_out for replay in replays), Counter[str]())
    return found, dict(left_out)


def _batches(
    reader: TopicReader, topic: str, decode: Callable[[bytes | None, bytes | None], T]
) -> Iterator[tuple[int, ValidatedBatch[T]]]:
    """Read a topic to its end, decoded and checked as the worker does it."""
    for partition, records in groupby(reader.read_to_end(), key=lambda record: record.partition):
        source = TopicPartition(topic, partition)
        while some := [*islice(records, _BATCH)]:
            batch = RecordBatch(source, cast(list[Record], some))
            yield partition, validate_batch(batch, reader.partitions, decode)
