"""What is wrong with what the product sends, by the newest records of `posts` and `engagements`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.kafka.batch_headers import PassedBatch
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
        if topic not in inst.topics:
            continue
        count = inst.topics[topic].partitions
        records = [one for one in sampled(inst, topic) if one.key]
        wrong = [one for one in records if partition_of(one.key or b"", count) != one.partition]
        if wrong:
            first = wrong[0]
            yield Finding(
                "partitioners",
                "wrong",
                f"{_share(wrong, records)} are in another partition than that of their key by"
                f" murmur2, and are refused: key {_text(first.key)} in {first.partition}, expected"
                f" {partition_of(first.key or b'', count)}",
                _where(inst, topic, first),
                "set the producer's partitioner: librdkafka `partitioner=murmur2_random`, sarama"
                " and others their murmur2 (Java's clients and kafka-python have it), and send the"
                " records again: " + inst.command("dead-letters replay --all"),
            )


def keys(inst: Installation) -> Iterator[Finding]:
    """The key of each record is the id of its post."""
    for topic in _TOPICS:
        records = sampled(inst, topic)
        keyless = [one for one in records if one.key is None]
        if keyless:
            yield Finding(
                "keys",
                "wrong",
                f"{_share(keyless, records)} have no key, and are refused",
                _where(inst, topic, keyless[0]),
                "have the producer send the post_id as the key of each record",
            )
        other = [one for one in records if one.key is not None and _names_another_post(one)]
        if other:
            value = _fields(other[0])
            is_user = _text(other[0].key) == value.get("user_id")
            yield Finding(
                "keys",
                "wrong",
                f"{_share(other, records)} have a key that is not their post_id, and are refused:"
                f" key {_text(other[0].key)}"
                + (", the user_id" if is_user else f", post_id {value.get('post_id')}"),
                _where(inst, topic, other[0]),
                "have the producer send the post_id as the key of each record, of engagements, too:"
                " so they are in the partition of their post",
            )


def contracts(inst: Installation) -> Iterator[Finding]:
    """Records keep the contract."""
    for topic, decode in _TOPICS.items():
        records = sampled(inst, topic)
        bad = []
        for one in records:
            is_named = one.key is None or _names_another_post(one)
            if not is_named and not isinstance(one.value, PassedBatch):
                try:
                    decode(one.key, one.value)
                except BadEvent as error:
                    bad.append((one, str(error)))
        if bad:
            first, reason = bad[0]
            yield Finding(
                "contracts",
                "wrong" if len(bad) > _MANY * len(records) else "warn",
                f"{_share(bad, records)} break the contract, and are refused: {reason}",
                _where(inst, topic, first),
                "correct the producer (docs/events has every field and limit); what was refused:"
                f" {inst.command(f'dead-letters list --topic {topic}')}",
            )


def event_times(inst: Installation) -> Iterator[Finding]:
    """The times that producers write are near those of the records."""
    for topic, field in (("posts", "created_at_ms"), ("engagements", "at_ms")):
        records = sampled(inst, topic)
        times = [(one, _fields(one).get(field)) for one in records]
        known = [(one, at_ms) for one, at_ms in times if isinstance(at_ms, int)]
        ahead = [(one, at_ms) for one, at_ms in known if at_ms > one.at_ms + _AHEAD_MS]
        old = [(one, at_ms) for one, at_ms in known if 0 < at_ms < one.at_ms - _WINDOW_MS]
        far = [(one, at_ms) for one, at_ms in ahead if at_ms > one.at_ms + HOUR_MS]
        if far or len(ahead) > _MANY * len(known):
            one, at_ms = (far or ahead)[0]
            yield Finding(
                "event times",
                "warn",
                f"{_share(ahead, records)} have a {field} that is later than their record:"
                f" {at_ms:,} in one of {one.at_ms:,}",
                _where(inst, topic, one),
                "set the clocks of the hosts that send them (NTP); the record's time counts in"
                " place of a later one, and a post of more than a day ahead is refused",
            )
        # Seconds in place of milliseconds are refused: `contracts` says so.
        old = [(one, at_ms) for one, at_ms in old if at_ms > 10**11]
        if topic == "posts" and 2 * len(old) > len(known):
            yield Finding(
                "event times",
                "warn",
                f"{_share(old, records)} are older than a week when they come: no built-in feed"
                " shows them",
                _where(inst, topic, old[0][0]),
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
            "authors",
            "warn",
            f"{_share(other, records)} are of posts that have another author by now: post"
            f" {_text(other[0].key)} was of {_fields(other[0]).get('author_id')}",
            _where(inst, "posts", other[0]),
            "have the producer send every edit with the author of the post, or a new post under a"
            " new id: overrides, author limits and hide rates go by author",
        )


def batches(inst: Installation) -> Iterator[Finding]:
    """No batch inflates beyond what readers take."""
    sampled_topics = {name: sampled(inst, name) for name in (*_TOPICS, "overrides")}
    whole_topics = {"models": inst.releases}
    for topic, records in (sampled_topics | whole_topics).items():
        passed = [one.value.header for one in records if isinstance(one.value, PassedBatch)]
        if passed:
            last = passed[-1]
            yield Finding(
                "batches",
                "wrong",
                f"{len(passed)} batches that no reader inflates, the last of {last.records:,}"
                f" records by {last.codec} at offsets {last.first} to {last.last}: they are passed",
                f"topic `{inst.environment.topic(topic)}`",
                "have the producer send smaller batches (at most 8 MiB uncompressed; `batch.size`),"
                " and send these records again",
            )


def _names_another_post(record: TopicRecord) -> bool:
    post_id = _fields(record).get("post_id")
    return isinstance(post_id, str) and post_id.encode() != record.key


def _fields(record: TopicRecord) -> dict[str, Any]:
    if not record.value:
        return {}
    try:
        return msgspec.json.decode(record.value, type=dict[str, Any])
    except DECODE_ERRORS:
        return {}


def _share(some: list[Any], records: list[TopicRecord]) -> str:
    return f"{len(some):,} of the newest {len(records):,} records"


def _where(inst: Installation, topic: str, record: TopicRecord) -> str:
    name = inst.environment.topic(topic)
    return f"topic `{name}`, the first at {name}[{record.partition}] offset {record.offset}"


def _text(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "replace")[:80]
