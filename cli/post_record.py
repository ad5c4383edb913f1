"""What Kafka knows of a post beyond Redis, for `feedmill explain`."""

from __future__ import annotations

from collections.abc import Iterable

import kafka.errors

from feedmill.events.decode import decode_post, decode_signal
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.feeds import FeedSpec
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord, open_topic, read_all
from feedmill.streams.redis.reader import PostSnapshot
from feedmill.streams.settings.config_log import fold_log

# A signal is stored within seconds of the time that it states.
_STORED_WITHIN_MS = 60_000
_NO_ANSWER = (kafka.errors.KafkaError, UsageError)


def feed_spec(environment: Environment, feed: str) -> FeedSpec | None:
    """Return what goes into a feed by the topic `config`; None where Kafka does not tell."""
    try:
        settings = fold_log(read_all(environment, "config"), environment.signals).settings
    except _NO_ANSWER:
        return None
    return settings.feed_of(feed)


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
    for name in names:
        try:
            reason = _reason(environment, post, name)
        except _NO_ANSWER:
            return reasons
        if reason:
            reasons[name] = reason
    return reasons


def _reason(environment: Environment, post: PostSnapshot, name: str) -> str:
    signal = post.signal(name)
    if signal is None:
        return ""
    with open_topic(environment, f"signals.{name}") as reader:
        reader.seek_to_time(signal.at_ms)
        for record in reader.read_to_end():
            if record.at_ms > signal.at_ms + _STORED_WITHIN_MS:
                break
            if record.key == post.post_id.encode():
                return _stated(environment, name, record)
    return ""


def _stated(environment: Environment, name: str, record: TopicRecord) -> str:
    try:
        signal = decode_signal(name, environment.signals, record.key, record.value or b"")
    except BadEvent:
        return ""
    return signal.reason or ""
