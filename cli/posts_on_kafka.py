"""What Kafka has of posts: all of them for a command, and what Redis does not know of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import kafka.errors

from feedmill.cli import Duration, option
from feedmill.cli.output import warn
from feedmill.cli.progress import long_work
from feedmill.events.decode import decode_post, decode_signal
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.feeds import FeedSpec
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.operations.preview.view_by_log import read_view
from feedmill.operations.setting_changes import read_settings_log
from feedmill.operations.times import time_text
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord, open_topic, read_all
from feedmill.streams.kafka.validation import check_time, misplaced
from feedmill.streams.redis.reader import PostSnapshot
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.worker.heap import resident_mib

# Read in some ten seconds.
MOST_RECORDS = 400_000
# A signal is stored within seconds of the time that it states.
_STORED_WITHIN_MS = 60_000
_HOUR_MS = 3_600_000
_NO_ANSWER = (kafka.errors.KafkaError, UsageError)


timeout_option = option(
    "--timeout",
    "Give up once Kafka has sent nothing for so long.  [60s]",
    Duration(),
    60_000,
    name="patience_ms",
)


def read_for_command(
    environment: Environment, view: PostView, patience_s: float, *, since_ms: int | None = None
) -> None:
    """Fill a view with progress on stderr, and say there how much memory it took.

    Raises what `read_view` raises.
    """
    with long_work("reading", "nothing was changed") as work:
        read = read_view(environment, view, work.tell, since_ms=since_ms, patience_s=patience_s)
        took = f"in {work.seconds:.0f} s"
    refused = f", {read.refused:,} of them bad" if read.refused else ""
    memory = resident_mib()
    in_memory = "" if memory is None else f"; this process has {memory:,} MiB"
    posts = len(view.live_rows())
    warn(f"read {posts:,} posts: {read.records:,} records{refused} {took}{in_memory}")


def feed_spec(environment: Environment, feed: str) -> FeedSpec | None:
    """Return what goes into a feed by the topic `config`; None where Kafka does not tell."""
    try:
        return read_settings_log(environment).settings.feed_of(feed)
    except _NO_ANSWER:
        return None


def post_record(environment: Environment, post: PostSnapshot) -> Post | None:
    """Return the version of a post that Redis shows; None where its record is gone."""
    key = post.post_id.encode()
    try:
        with open_topic(environment, "posts") as reader:
            found = reader.record_at(partition_of(key, reader.partitions), post.post_offset)
        event = None if found is None else decode_post(found.key, found.value)
    except (*_NO_ANSWER, BadEvent):
        return None
    return event if isinstance(event, Post) else None


def signal_reasons(
    environment: Environment, post: PostSnapshot, names: Iterable[str]
) -> dict[str, str]:
    """Return the `reason` of those signals of a post that state one, as far as Kafka has them."""
    reasons: dict[str, str] = {}
    with suppress(*_NO_ANSWER):
        for name in names:
            if reason := _signal_reason(environment, post, name):
                reasons[name] = reason
    return reasons


def _signal_reason(environment: Environment, post: PostSnapshot, name: str) -> str | None:
    signal = post.signal(name)
    if signal is None:
        return None
    for record in read_all(environment, f"signals.{name}", since_ms=signal.at_ms):
        if record.at_ms > signal.at_ms + _STORED_WITHIN_MS:
            break
        if record.key == post.post_id.encode():
            with suppress(BadEvent):
                value = record.value or b""
                return decode_signal(name, environment.signals, record.key, value).reason
            break
    return None


def why_unknown(environment: Environment, post_id: str) -> str:
    """Say why Redis does not know a post: by its last record, where that is still on `posts`.

    Reads the last `MOST_RECORDS` records; where Kafka does not answer, it says what may be.
    """
    try:
        with open_topic(environment, "posts") as reader:
            partitions = reader.partitions
            of_key = [record for record in _last(reader) if record.key == post_id.encode()]
        if not of_key:
            return (
                f"none of the last {MOST_RECORDS:,} records of `posts` has this key; was it sent,"
                " with the post_id as the key?"
            )
        window_ms = FeedMatcher(read_settings_log(environment).settings).longest_window_ms
    except _NO_ANSWER:
        return "never posted, deleted, or older than every window"
    found = max(of_key, key=lambda record: record.at_ms)
    where = f"its record of {time_text(found.at_ms)}, offset {found.offset} of partition"
    return f"{where} {found.partition}, {_record_text(found, partitions, window_ms)}"


def _record_text(found: TopicRecord, partitions: int, window_ms: int) -> str:
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


def is_author(environment: Environment, author_id: str) -> bool:
    """Whether one of the last `MOST_RECORDS` posts is of this author."""
    with open_topic(environment, "posts") as reader:
        for record in _last(reader):
            with suppress(BadEvent):
                post = decode_post(record.key, record.value)
                if isinstance(post, Post) and post.author_id == author_id:
                    return True
    return False


def _last(reader: TopicReader) -> Iterator[TopicRecord]:
    reader.seek_before_end(MOST_RECORDS // reader.partitions)
    return reader.read_to_end()
