"""What `feedmill train` learns from topics: first impressions, and labelled posts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple, TypeVar, cast

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.errors import UsageError
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.operations.times import duration_text
from feedmill.rankers.impressions import Impressions, join
from feedmill.streams.engagement.engagement_replay import TOO_LATE, EngagementReplay
from feedmill.streams.engagement.feature_row import TOPIC as FEATURES
from feedmill.streams.engagement.feature_row import FeatureRow, decode_row
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, read_all
from feedmill.streams.kafka.validation import ValidatedBatch, validate_batch
from feedmill.training.label_join import LabelJoin, mean_label, topic_dataset
from feedmill.training.progress import Tell, silent
from feedmill.training.training_data import Dataset, TrainingData

T = TypeVar("T")
_BATCH = 1_000
_QUALITY = "quality"


class CountedTopics(NamedTuple):
    """The topics counted again: the first impressions, and how many were left out, by the reason.

    `compared` values of the topic `features` were compared, and `differing` are the posts of those
    that differ.  `span_ms` is the time from the first engagement to the last record.
    """

    rows: Impressions
    left_out: dict[str, int]
    compared: int
    differing: list[str]
    span_ms: int = 0


def read_impressions(
    environment: Environment, wait_ms: int, since_ms: int, tell: Tell = silent
) -> CountedTopics:
    """Read `posts` and `engagements` to where they end now, and count them again.

    A reaction belongs to an impression for `wait_ms`; a later impression is left out, as are posts
    created before `since_ms`.  Raises what `open_topic` raises.
    """
    with open_topic(environment, "posts") as posts, open_topic(environment, "engagements") as log:
        replays = [EngagementReplay(environment, wait_ms) for _ in range(log.partitions)]
        for partition, logged in _logged(environment, since_ms):
            replays[partition].add_logged(logged)
        posts.seek_to_time(since_ms)
        for partition, of_posts in _batches(posts, "posts", decode_post, tell):
            replays[partition].add_posts(of_posts.events)
        log.seek_to_time(since_ms)
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
    with suppress(UsageError):
        for record in read_all(environment, FEATURES, since_ms=since_ms):
            with suppress(*DECODE_ERRORS):
                yield record.partition, [decode_row(record.value or b"")]


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


def add_labels(
    environment: Environment,
    target: str,
    data: TrainingData,
    since_ms: int,
    tell: Tell = silent,
) -> tuple[TrainingData, dict[str, int]]:
    """Add the posts of the topics that have labels of a target; `UsageError` where none has.

    The posts without such a label become ordinary posts if `data` has none.  Returns also how many
    labels and posts were left out, by the reason.
    """
    join = _read_labels(environment, target, since_ms, tell)
    labelled = join.labelled()
    _check_some(target, labelled)
    data = replace(data, labelled=(*data.labelled, topic_dataset("labels", labelled)))
    if not data.ordinary and (unlabelled := join.unlabelled()):
        ordinary = topic_dataset("posts", [(post, 0.0) for post in unlabelled])
        data = replace(data, ordinary=(ordinary,))
    return data, join.left_out


def read_ratings(
    environment: Environment, since_ms: int, tell: Tell = silent
) -> tuple[Dataset, dict[str, int]]:
    """Read the posts that have labels of quality, grouped by author, each with their mean.

    Returns also how many labels were left out, by the reason; `UsageError` where no post has one.
    """
    join = _read_labels(environment, _QUALITY, since_ms, tell)
    rated = [(post, mean_label(labels)) for post, labels in join.judged()]
    _check_some(_QUALITY, rated)
    return topic_dataset("labels", rated), join.left_out


def _read_labels(environment: Environment, target: str, since_ms: int, tell: Tell) -> LabelJoin:
    join = LabelJoin(target, since_ms)
    for record in read_all(environment, "labels", partial(tell, "reading labels")):
        join.add_label(record.key, record.value)
    for record in read_all(environment, "posts", partial(tell, "reading posts")):
        join.add_post(record.key, record.value, record.at_ms)
    return join


def _check_some(target: str, labelled: Sequence[object]) -> None:
    if not labelled:
        raise UsageError(
            f"no labels of `{target}` with their posts in the topics labels and posts: --since"
            " leaves earlier ones out, `feedmill labels sample` draws posts for raters"
        )
