"""First impressions from the topics `posts` and `engagements`, counted as the worker counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple, TypeVar, cast

from feedmill.cli.duration import duration_text
from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.errors import UsageError
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.rankers.impressions import Impressions, join
from feedmill.streams.engagement.engagement_replay import TOO_LATE, EngagementReplay
from feedmill.streams.engagement.feature_row import TOPIC as FEATURES
from feedmill.streams.engagement.feature_row import FeatureRow, decode_row
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.kafka.validation import ValidatedBatch, validate_batch
from feedmill.training.progress import Tell, silent

T = TypeVar("T")
_BATCH = 1_000


class CountedTopics(NamedTuple):
    """The topics counted again.

    Attributes
    ----------
    rows
        The first impressions.
    left_out
        How many were left out, by the reason.
    compared, differing
        How many values of the topic `features` were compared, and the posts of those that differ.
    span_ms
        The time from the first engagement to the last record.
    """

    rows: Impressions
    left_out: dict[str, int]
    compared: int
    differing: list[str]
    span_ms: int = 0


def read_impressions(
    environment: Environment, wait_ms: int, since_ms: int, tell: Tell = silent
) -> CountedTopics:
    """Read both topics from a time on to where they end now, and count them again.

    Parameters
    ----------
    environment
        Where Kafka is, and what counts.
    wait_ms
        How long after an impression a reaction belongs to it; a later impression is left out.
    since_ms
        Posts created from this time on, Unix milliseconds; 0: all.
    tell
        Told how many records are read.

    Raises
    ------
    UsageError
        A topic is missing.
    kafka.errors.KafkaError
        Kafka cannot be reached.
    """
    with open_topic(environment, "posts") as posts, open_topic(environment, "engagements") as log:
        replays = [EngagementReplay(environment, wait_ms) for _ in range(log.partitions)]
        for partition, logged in _logged(environment, since_ms):
            replays[partition].add_logged(logged)
        _seek(posts, since_ms)
        for partition, of_posts in _batches(posts, "posts", decode_post, tell):
            replays[partition].add_posts(of_posts.events)
        _seek(log, since_ms)
        for partition, engagements in _batches(log, "engagements", decode_engagement, tell):
            replays[partition].count(engagements.events)
    end_ms = max(replay.last_ms for replay in replays)
    found = join([replay.impressions(end_ms) for replay in replays])
    left_out = sum((replay.left_out for replay in replays), Counter[str]())
    differing = [post_id for replay in replays for post_id in replay.differing]
    compared = sum(replay.compared for replay in replays)
    begins = [replay.first_ms for replay in replays if replay.first_ms]
    span_ms = end_ms - min(begins, default=end_ms)
    return CountedTopics(found, dict(left_out), compared, differing, span_ms)


@contextmanager
def waited_less(counted: CountedTopics, wait_ms: int) -> Iterator[None]:
    """Say in a refusal which wait would leave enough, where the one given left impressions out."""
    try:
        yield
    except UsageError as error:
        late = counted.left_out.get(TOO_LATE, 0)
        if not late:
            raise
        raise UsageError(
            f"{error}; {late:,} more came less than --wait {duration_text(wait_ms)} before the end:"
            f" the engagements are of {duration_text(counted.span_ms)}, so give --wait"
            f" {duration_text(max(counted.span_ms // 4, 1000))}"
        ) from None


def _logged(environment: Environment, since_ms: int) -> Iterator[tuple[int, list[FeatureRow]]]:
    """Read `features` to its end by partition; none where the topic was never created."""
    try:
        with open_topic(environment, FEATURES) as reader:
            _seek(reader, since_ms)
            for record in reader.read_to_end():
                with suppress(*DECODE_ERRORS):
                    yield record.partition, [decode_row(record.value or b"")]
    except UsageError:
        return


def _seek(reader: TopicReader, since_ms: int) -> None:
    if since_ms:
        reader.seek_to_time(since_ms)
    else:
        reader.seek_to_beginning()


def _batches(
    reader: TopicReader,
    topic: str,
    decode: Callable[[bytes | None, bytes | None], T],
    tell: Tell,
) -> Iterator[tuple[int, ValidatedBatch[T]]]:
    """Read a topic to its end, decoded and checked as the worker does it."""
    found = reader.read_to_end(partial(tell, f"reading {topic}"))
    for partition, records in groupby(found, key=lambda record: record.partition):
        source = TopicPartition(topic, partition)
        while some := [*islice(records, _BATCH)]:
            batch = RecordBatch(source, cast(list[Record], some))
            yield partition, validate_batch(batch, reader.partitions, decode)
