"""A batch's records, good and bad, on their way into a stage."""

import tracemalloc
from functools import partial
from typing import Any

import pytest

from builders.records import StoredRecord, record_batch
from feedmill.events.decode import decode_engagement, decode_post, decode_posts, encode
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.validation import ValidatedBatch, last_of_each, validate_batch

PARTITIONS = 4
HERE = [f"p{i}" for i in range(400) if partition_of(f"p{i}".encode(), PARTITIONS) == 2]


def value(post_id: str, **said: Any) -> bytes:
    given = {"post_id": post_id, "author_id": "al", "created_at_ms": 1_700_000_000_001, "text": "t"}
    return encode({**given, **said})


def admitted(
    *pairs: tuple[bytes | None, bytes | None], decode_many: Any = decode_posts
) -> ValidatedBatch[Post | Deletion]:
    records = [StoredRecord(i, key=key, value=value) for i, (key, value) in enumerate(pairs)]
    batch = record_batch("posts", records, partition=2)
    return validate_batch(batch, PARTITIONS, decode_post, decode_many)


def good(post_id: str, **said: Any) -> tuple[bytes, bytes]:
    return post_id.encode(), value(post_id, **said)


@pytest.mark.parametrize("decode_many", [None, decode_posts])
@pytest.mark.parametrize("filling", [0, 50])  # few keys are hashed one by one, many at once
def test_bad_records_are_set_apart_with_their_reason_and_the_rest_goes_on(
    filling: int, decode_many: Any
) -> None:
    admit = partial(admitted, decode_many=decode_many)
    elsewhere = next(f"q{i}" for i in range(99) if partition_of(f"q{i}".encode(), 4) == 1)
    bad: list[tuple[tuple[bytes | None, bytes | None], str]] = [
        (good(elsewhere), "Expected partition 1 for this key, got 2"),
        ((elsewhere.encode(), None), "partitioner=murmur2_random"),
        ((None, value(HERE[1])), f"Expected the record's key '{HERE[1]}', got none"),
        ((None, None), "Expected a key, got none"),
        ((b"", b""), "Expected a key, got none"),
        ((b"\xff\xfe", None), "Expected a key in UTF-8"),
        ((HERE[2].encode(), value(HERE[3])), "at `$.post_id`"),
        ((HERE[2].encode(), b'{"post_id"'), ""),
        ((HERE[2].encode(), b"\xff"), ""),
        ((b"a b", None), "in the key"),
        ((b"a|b", None), "in the key"),
        ((b"k" * 300, value("k" * 300)), "at `$.post_id`"),
        ((elsewhere.encode(), b"{"), ""),  # bad in two ways
    ]
    fine = [good(post_id) for post_id in HERE[: filling + 2]]
    pairs = [fine[0], *(pair for pair, _ in bad), *fine[1:]]
    found = admit(*pairs)
    assert [event.post_id for _, event in found.events] == HERE[: filling + 2]
    assert [one.record.offset for one in found.rejected] == list(range(1, len(bad) + 1))
    for one, (pair, reason) in zip(found.rejected, bad, strict=True):
        assert reason in one.reason
        assert one.reason
        assert (one.record.key, one.record.value) == pair
        assert one.source == TopicPartition("posts", 2)
    alone = [admit(pair).rejected for pair, _ in bad]
    assert [one.reason for (one,) in alone] == [one.reason for one in found.rejected]
    assert [event for _, event in admit(*fine).events] == [event for _, event in found.events]


@pytest.mark.parametrize("count", [1, 50])  # some decoded one by one, many at once
def test_a_time_of_more_than_a_day_ahead_of_the_record_is_refused(count: int) -> None:
    ids, stamp = HERE[:count], 1_700_000_000_000
    times = [stamp + 86_400_000] * (count - 1) + [stamp + 86_400_001]
    records = [
        StoredRecord(i, stamp, one.encode(), value(one, created_at_ms=at_ms))
        for i, (one, at_ms) in enumerate(zip(ids, times, strict=True))
    ]
    batch = record_batch("posts", records, partition=2)
    found = validate_batch(batch, PARTITIONS, decode_post, decode_posts)
    assert len(found.events) == count - 1
    (refused,) = found.rejected
    assert refused.reason == (
        "Expected Unix time in milliseconds, at most a day after the record's timestamp"
        f" {stamp}, got {times[-1]} - at `$.created_at_ms`"
    )
    kept = record_batch("posts", records[:-1], partition=2)
    assert not validate_batch(kept, PARTITIONS, decode_post, decode_posts).rejected


def test_an_engagement_may_be_ahead_and_a_deletion_has_no_time() -> None:
    like = {"post_id": HERE[0], "user_id": "u", "kind": "like", "at_ms": 1_700_100_000_000}
    record = StoredRecord(0, 1_700_000_000_000, HERE[0].encode(), encode(like))
    batch = record_batch("engagements", [record], partition=2)
    assert not validate_batch(batch, PARTITIONS, decode_engagement).rejected
    assert not admitted((HERE[0].encode(), None)).rejected


def test_a_giant_key_costs_no_memory_beyond_its_own() -> None:
    pairs = [good(post_id) for post_id in HERE[:80]]
    giant = b"x" * 1_000_000
    records = [(giant, value("x")), (giant, None), *pairs]
    admitted(*pairs)
    tracemalloc.start()
    found = admitted(*records)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.events) == 80
    assert [one.record.offset for one in found.rejected] == [0, 1]
    assert all(len(one.reason) < 2000 for one in found.rejected)
    assert peak < 10_000_000


def test_only_the_last_of_each_key_needs_judging() -> None:
    first, other, edit = good(HERE[0]), good(HERE[1]), good(HERE[0], text="edited")
    gone = (HERE[1].encode(), None)
    found = admitted(first, other, edit, gone)
    last = [(record.offset, event) for record, event in last_of_each(found.events)]
    assert [offset for offset, _ in last] == [2, 3]
    edited, deleted = (event for _, event in last)
    assert isinstance(edited, Post)
    assert edited.text == "edited"
    assert isinstance(deleted, Deletion)
