"""Why Redis knows no such post: what the topic `posts` says of it."""

from __future__ import annotations

from contextlib import suppress

import kafka.errors

from feedmill.cli.output import time_text
from feedmill.events.decode import decode_post
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord, open_topic, read_all
from feedmill.streams.kafka.validation import check_time, misplaced
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import fold_log

TOPIC = "posts"
# Read in some ten seconds.
MOST_RECORDS = 400_000
_HOUR_MS = 3_600_000


def why_unknown(environment: Environment, post_id: str) -> str:
    """Say why Redis does not know a post: by its last record, where that is still on `posts`.

    Reads the last `MOST_RECORDS` records; where Kafka does not answer, it says what may be.
    """
    try:
        found, partitions = _last_record(environment, post_id.encode())
        window_ms = 0 if found is None else _longest_window_ms(environment)
    except (kafka.errors.KafkaError, UsageError):
        return "never posted, deleted, or older than every window"
    if found is None:
        return (
            f"none of the last {MOST_RECORDS:,} records of `{TOPIC}` has this key; was it sent,"
            " with the post_id as the key?"
        )
    where = f"its record of {time_text(found.at_ms)}, offset {found.offset} of partition"
    return f"{where} {found.partition}, {_reason(found, partitions, window_ms)}"


def _reason(found: TopicRecord, partitions: int, window_ms: int) -> str:
    try:
        post = decode_post(found.key, found.value)
        expected = partition_of(found.key or b"", partitions)
        if expected != found.partition:
            raise BadEvent(misplaced(expected, found.partition))
        check_time(post, found.at_ms)
    except BadEvent as error:
        return f"breaks the contract: {error}; correct the producer, and send it again"
    if isinstance(post, Deletion):
        return "deletes it"
    if now_ms() - min(post.created_at_ms, found.at_ms) > window_ms:
        was = "was, when it came," if found.at_ms - post.created_at_ms > window_ms else "is by now"
        return (
            f"says created_at_ms {post.created_at_ms}, {time_text(post.created_at_ms)}: it {was}"
            f" older than the window of every feed, {window_ms / _HOUR_MS:g} hours at most"
        )
    return (
        "is in order, but no worker has ranked it yet (`feedmill models health` lists those that"
        " run)"
    )


def _last_record(environment: Environment, key: bytes) -> tuple[TopicRecord | None, int]:
    """Return the last record with a key, in whichever partition, and how many there are."""
    with open_topic(environment, TOPIC) as reader:
        reader.seek_before_end(MOST_RECORDS // reader.partitions)
        found = [record for record in reader.read_to_end() if record.key == key]
        return max(found, key=lambda record: record.at_ms, default=None), reader.partitions


def is_author(environment: Environment, author_id: str) -> bool:
    """Whether one of the last `MOST_RECORDS` posts is of this author."""
    with open_topic(environment, TOPIC) as reader:
        reader.seek_before_end(MOST_RECORDS // reader.partitions)
        for record in reader.read_to_end():
            with suppress(BadEvent):
                post = decode_post(record.key, record.value)
                if isinstance(post, Post) and post.author_id == author_id:
                    return True
    return False


def _longest_window_ms(environment: Environment) -> int:
    settings = fold_log(read_all(environment, "config"), environment.signals).settings
    return FeedMatcher(settings).longest_window_ms
