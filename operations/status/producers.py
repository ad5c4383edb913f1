"""What is wrong with what the product sends, by the newest records of `posts` and `engagements`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any

import msgspec

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.installation import Installation
from feedmill.streams.kafka.batch_headers import PassedBatch, reason_of
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.kafka.topic_table import HOUR_MS, SECOND_MS

# Of each partition.
_SAMPLE = 200
_TOPICS: dict[str, Callable[[bytes | None, bytes | None], Any]] = {
    "posts": decode_post,
    "engagements": decode_engagement,
}
# Posts of the feeds on demand and of `global`.
_WINDOW_MS = 168 * HOUR_MS
# A reader's device may be off by so much, and the devices of some readers by more.
_AHEAD_MS = 60 * SECOND_MS
# A fraction of records from which on it is no single producer or device.
_MANY = 0.05


def sampled(inst: Installation, topic: str) -> list[TopicRecord]:
    """Return the newest 200 records of each partition."""
    return inst.newest(topic, _SAMPLE)


def partitioners(inst: Installation) -> Iterator[Finding]:
    """Producers hash keys by murmur2, as Java's clients do."""
    for topic in _TOPICS:
        count = inst.counts.get(topic, 0)
        records = [one for one in sampled(inst, topic) if one.key]
        wrong = [one for one in records if partition_of(one.key or b"", count) != one.partition]
        if wrong:
            first = wrong[0]
            yield Finding(
                "wrong",
                f"{_share(wrong, records)} are in another partition than that of their key by"
                f" murmur2, and are refused: key {_text(first.key)} in {first.partition}, expected"
                f" {partition_of(first.key or b'', count)}",
                _where(inst, topic, first),
                "set the producer's partitioner: librdkafka `partitioner=murmur2_random`, sarama"
                " and others their murmur2 (Java's clients and kafka-python have it), and send the"
                " records again: " + inst.command("dead-letters replay --all"),
            )


def contracts(inst: Installation) -> Iterator[Finding]:
    """Records keep the contract, batches inflate to what readers take, keys are ids of posts."""
    for topic, decode in _TOPICS.items():
        records = sampled(inst, topic)
        bad: dict[TopicRecord, str] = {}
        for one in records:
            try:
                decode(one.key, one.value)
            except BadEvent as error:
                bad[one] = reason_of(one.value, error)
        # Of a whole batch, or of all records by a wrong key, one is enough.
        worst = [one for one in bad if isinstance(one.value, PassedBatch) or _has_wrong_key(one)]
        for first in [*worst, *bad][:1]:
            is_many = worst or len(bad) > _MANY * len(records)
            yield Finding(
                "wrong" if is_many else "warn",
                f"{_share(bad, records)} break the contract, and are refused: {bad[first]}",
                _where(inst, topic, first),
                "correct the producer: docs/events has every field and limit, the key of each"
                " record is its post_id, a batch has at most 8 MiB uncompressed; what was refused:"
                f" {inst.command(f'dead-letters list --topic {topic}')}",
            )


def event_times(inst: Installation) -> Iterator[Finding]:
    """The times that producers write are near those of the records."""
    for topic, name in (("posts", "created_at_ms"), ("engagements", "at_ms")):
        records = sampled(inst, topic)
        times = ((one, _fields(one).get(name)) for one in records)
        known = [(one, at_ms) for one, at_ms in times if isinstance(at_ms, int)]
        ahead = [(one, at_ms) for one, at_ms in known if at_ms > one.at_ms + _AHEAD_MS]
        far = [(one, at_ms) for one, at_ms in ahead if at_ms > one.at_ms + HOUR_MS]
        if far or len(ahead) > _MANY * len(known):
            one, at_ms = (far or ahead)[0]
            yield Finding(
                "warn",
                f"{_share(ahead, records)} have a {name} that is later than their record:"
                f" {at_ms:,} in one of {one.at_ms:,}",
                _where(inst, topic, one),
                "set the clocks of the hosts that send them (NTP); the record's time counts in"
                " place of a later one, and a post of more than a day ahead is refused",
            )
        # Seconds in place of milliseconds are refused: `contracts` says so.
        old = [one for one, at_ms in known if 10**11 < at_ms < one.at_ms - _WINDOW_MS]
        if topic == "posts" and 2 * len(old) > len(known):
            yield Finding(
                "warn",
                f"{_share(old, records)} are older than a week when they come: no built-in feed"
                " shows them",
                _where(inst, topic, old[0]),
                "send posts when they are created, or declare feeds with a longer window_hours and"
                " keep topics as long; `feedmill replay` gives old files new times",
            )


def authors(inst: Installation) -> Iterator[Finding]:
    """An edit keeps the author of its post."""
    records = sampled(inst, "posts")
    author_of = {one.key: _fields(one).get("author_id") for one in records if one.value}
    other = [
        one for one in records if one.value and _fields(one).get("author_id") != author_of[one.key]
    ]
    if other:
        yield Finding(
            "warn",
            f"{_share(other, records)} are of posts that have another author by now: post"
            f" {_text(other[0].key)} was of {_fields(other[0]).get('author_id')}",
            _where(inst, "posts", other[0]),
            "have the producer send every edit with the author of the post, or a new post under a"
            " new id: overrides, author limits and hide rates go by author",
        )


def _has_wrong_key(record: TopicRecord) -> bool:
    post_id = _fields(record).get("post_id")
    is_other = isinstance(post_id, str) and post_id.encode() != record.key
    return record.key is None or is_other


def _fields(record: TopicRecord) -> dict[str, Any]:
    if not record.value:
        return {}
    try:
        return msgspec.json.decode(record.value, type=dict[str, Any])
    except DECODE_ERRORS:
        return {}


def _share(some: Sized, records: list[TopicRecord]) -> str:
    return f"{len(some):,} of the newest {len(records):,} records"


def _where(inst: Installation, topic: str, record: TopicRecord) -> str:
    name = inst.environment.topic(topic)
    return f"topic `{name}`, the first at {name}[{record.partition}] offset {record.offset}"


def _text(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "replace")[:80]
