"""What is written to a real Redis, under which token, and what of it fails alone."""

from __future__ import annotations

import json
import random

import pytest
from redis.crc import key_slot

from builders.changes import (
    feed_change,
    post_change,
    removal,
    weights_of,
    whole_feed,
    whole_post,
)
from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import KEYS, PREFIX, SteppedWriter
from builders.waiting import in_background, now_ms
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.keys import TOMBSTONE_MS, Keys
from feedmill.streams.redis.reader import FeedReader
from feedmill.streams.redis.retries import FIRST_RETRY_S
from feedmill.streams.redis.write_batch import WriteReport

pytestmark = pytest.mark.stack


def feed_of(client: RedisClient, feed: str = "global") -> dict[str, float]:
    members = client.zrange(KEYS.feed(feed), 0, -1, withscores=True)
    return dict(members)


def test_a_feed_has_what_the_contract_says(writer: SteppedWriter, client: RedisClient) -> None:
    at_ms = now_ms()
    change = whole_feed("global", {"a": 2.5, "b": 1.5}, weights=weights_of(0.25))
    report = writer.write(change, at_ms=at_ms, fresh_feeds={"global"})
    info = client.hgetall(KEYS.info("global"))
    assert feed_of(client) == {"a": 2.5, "b": 1.5}
    assert json.loads(info.pop("weights"))["quality"] == 0.25
    assert set(json.loads(info.pop("gates"))) == {"spam", "nsfw", "misinformation"}
    assert info == {
        "version": str(at_ms),
        "config_offset": "3",
        "size": "2",
        "written_at_ms": str(at_ms),
        "fresh_until_ms": str(at_ms + 15_000),
        "owner": "10",
        "owned_since_ms": str(at_ms),
    }
    assert report.written_feeds == {"global": at_ms}


def test_a_renewal_changes_freshness_alone(writer: SteppedWriter, client: RedisClient) -> None:
    at_ms = now_ms()
    writer.write(whole_feed("global", {"a": 1.0}), at_ms=at_ms)
    before = client.hgetall(KEYS.info("global"))
    assert before["fresh_until_ms"] == str(at_ms)
    renewal = feed_change("global", {}, size=1)
    writer.write(renewal, at_ms=at_ms + 5_000, fresh_feeds={"global"})
    after = client.hgetall(KEYS.info("global"))
    assert after == {**before, "fresh_until_ms": str(at_ms + 20_000)}


def test_changes_lead_to_what_writing_whole_would(
    writer: SteppedWriter, client: RedisClient
) -> None:
    """Random changes, a third of them whole; some feeds are longer than one chunk of a script."""
    drawn = random.Random(7)
    for length in (0, 3, 150, 1_200):
        members: dict[str, float] = {f"p{i}": drawn.random() for i in range(length)}
        versions = [writer.write(whole_feed("global", members)).written_feeds["global"]]
        for step in range(12):
            gone = drawn.sample(sorted(members), drawn.randint(0, len(members) // 3))
            scores = {f"n{step}-{i}": drawn.random() for i in range(drawn.randint(0, length + 3))}
            scores |= {p: drawn.random() for p in sorted(members)[:5] if p not in gone}
            members = {p: s for p, s in members.items() if p not in gone} | scores
            change = feed_change("global", scores, gone, size=len(members))
            if step % 3 == 0:
                change = whole_feed("global", members)
            versions.append(writer.write(change).written_feeds["global"])
            assert feed_of(client) == members
            assert client.hget(KEYS.info("global"), "size") == str(len(members))
        assert versions == sorted(versions)
        assert client.exists(KEYS.feed_copy("global")) == 0


def test_readers_see_no_short_empty_or_mixed_feed(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    posts = [f"p{i:03}" for i in range(500)]
    reader = FeedReader(own_redis.client(decode_responses=False), PREFIX)

    def write(number: int) -> int:
        # Every second one has other posts, so that a mixture would be too long.
        names = posts if number % 2 else [f"q{post}" for post in posts]
        scores = {post: float(number) for post in names}
        report = writer.write(whole_feed("global", scores, weights=weights_of(number)))
        return report.written_feeds["global"]

    write(1)
    with in_background(lambda _: [write(number) for number in range(2, 202)]) as writing:
        seen = []
        while not writing.done():
            seen.append(reader.feed("global", 10_000))
    for snapshot in seen:
        assert snapshot is not None
        number = snapshot.weights.objectives["quality"]
        assert {score for _, score in snapshot.ranking} == {number}
        assert len(snapshot.ranking) == 500
        assert len({post[0] for post, _ in snapshot.ranking}) == 1
    assert len({snapshot.version for snapshot in seen if snapshot is not None}) > 10


def test_a_post_is_written_whole_and_changed(writer: SteppedWriter, client: RedisClient) -> None:
    writer.write(whole_post("p", spam="0.5 v1 +1", decided_by="spam@v1"))
    report = writer.write(post_change("p", spam="0.1 v2 +9", decided_by=""))
    key = KEYS.signals("p")
    usual = {"post_offset": "7", "author_id": "ann", "decision": "show", "owner": "10"}
    assert client.hgetall(key) == {**usual, "spam": "0.1 v2 +9"}
    assert client.object("encoding", key) == "listpack"
    assert 3_500_000 < client.pttl(key) <= 3_600_000
    assert report.written_posts == 1
    writer.write(whole_post("p", quality="0.5 v1 +1"))
    assert client.hgetall(key) == {**usual, "quality": "0.5 v1 +1"}


def test_what_redis_does_not_hold_is_asked_for_whole(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"a": 1.0}), whole_post("p"))
    client.zadd(KEYS.feed("global"), {"stranger": 3.0})
    report = writer.write(
        feed_change("global", {"b": 2.0}, size=2),
        feed_change("new", {"b": 2.0}, size=2),
        post_change("p", post_offset=8, spam="0.5 v1 +1"),
        post_change("q", spam="0.5 v1 +1"),
    )
    assert report.rewrite_feeds == {"global", "new"}
    assert report.rewrite_posts == {"p", "q"}
    assert feed_of(client) == {"a": 1.0, "stranger": 3.0}
    assert "spam" not in client.hgetall(KEYS.signals("p"))
    assert client.exists(KEYS.signals("q"), KEYS.feed("new")) == 0


# --- tokens and tombstones ------------------------------------------------------------------


def everything(client: RedisClient) -> dict[str, object]:
    """All keys but canaries with their content."""
    found: dict[str, object] = {}
    for key in client.scan_iter(f"{PREFIX}*"):
        kind = client.type(key)
        if kind == "zset":
            found[key] = client.zrange(key, 0, -1, withscores=True)
        elif kind == "hash":
            found[key] = client.hgetall(key)
        elif not key.startswith(f"{PREFIX}canary:"):
            found[key] = client.get(key)
    return found


def test_a_paused_owner_changes_nothing(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    paused = SteppedWriter(own_redis.url)
    paused.write(whole_feed("global", {"a": 1.0}), whole_post("p"), token=10)
    writer.write(whole_feed("global", {"b": 2.0}), whole_post("p", decision="hide"), token=11)
    before = everything(client)
    reports = [
        paused.write(whole_feed("global", {"a": 1.0}), whole_post("p"), token=10),
        paused.write(feed_change("global", {}, ["b"], size=0), post_change("p", x="1"), token=10),
        paused.write(removal("p"), removed_feeds=["global"], token=10),
    ]
    assert everything(client) == before
    for report in reports:
        assert (report.refused_feeds, report.refused_posts) == ({"global"}, {"p"})
        assert (report.rewrite_feeds, report.rewrite_posts) == (set(), set())
    # The owner's own next change finds what it wrote.
    assert (
        "global" in writer.write(feed_change("global", {"c": 3.0}, size=2), token=11).written_feeds
    )


def test_a_paused_owner_brings_nothing_back_that_was_removed(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    paused = SteppedWriter(own_redis.url)
    paused.write(whole_feed("global", {"a": 1.0}), whole_post("p"), token=10)
    writer.write(whole_feed("global", {"a": 1.0}), whole_post("p"), token=11)
    writer.write(removal("p"), removed_feeds=["global"], token=11)
    for _ in range(2):  # its first attempt leaves nothing behind that lets the second pass
        report = paused.write(whole_feed("global", {"a": 1.0}), whole_post("p"), token=10)
        assert (report.refused_feeds, report.refused_posts) == ({"global"}, {"p"})
        report = paused.write(
            feed_change("global", {"a": 1.0}, size=1), post_change("p", x="1"), token=10
        )
        assert (report.refused_feeds, report.refused_posts) == ({"global"}, {"p"})
    left = {KEYS.feed_tombstone("global"), KEYS.post_tombstone("p")}
    assert {key for key in everything(client) if key != KEYS.feed_index} == left
    for key in left:
        assert TOMBSTONE_MS - 60_000 < client.pttl(key) <= TOMBSTONE_MS


def test_its_owner_makes_a_removed_feed_and_post_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    first = writer.write(whole_feed("global", {"a": 1.0}), whole_post("p")).written_feeds["global"]
    writer.write(removal("p"), removed_feeds=["global"])
    assert client.exists(KEYS.feed("global"), KEYS.info("global"), KEYS.signals("p")) == 0
    report = writer.write(whole_feed("global", {"b": 2.0}), whole_post("p"), at_ms=1)
    assert report.written_feeds["global"] > first + 1  # the removal was a version, too
    assert client.exists(KEYS.feed_tombstone("global"), KEYS.post_tombstone("p")) == 0
    assert client.hget(KEYS.signals("p"), "owner") == "10"


@pytest.mark.parametrize("prefix", ["", "test."])
def test_what_one_script_writes_is_in_one_slot_of_a_cluster(prefix: str) -> None:
    keys = Keys(prefix)
    of_feed = (keys.feed, keys.info, keys.feed_tombstone, keys.feed_copy)
    assert len({key_slot(key("lang:en").encode()) for key in of_feed}) == 1
    of_post = (keys.signals, keys.post_tombstone)
    assert len({key_slot(key("post:1").encode()) for key in of_post}) == 1


# --- the index of feeds ---------------------------------------------------------------------


def index(client: RedisClient) -> dict[str, float]:
    return dict(client.zrange(KEYS.feed_index, 0, -1, withscores=True))


def test_the_index_has_every_feed_until_it_is_removed(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {}), whole_feed("community:a", {"p": 1.0}), token=10)
    assert index(client) == {"global": 10, "community:a": 10}
    writer.write(removed_feeds=["community:a"], token=10)
    assert index(client) == {"global": 10}
    report = WriteReport()
    writer.batch_writer.read_index(report)
    assert report.existing_feeds == ("global",)


def test_a_feed_without_a_place_on_the_index_is_not_written(
    writer: SteppedWriter, client: RedisClient
) -> None:
    client.set(KEYS.feed_index, "no sorted set")
    report = writer.write(whole_feed("global", {"a": 1.0}))
    assert (report.written_feeds, report.errors["WRONGTYPE"]) == ({}, 1)
    assert client.exists(KEYS.feed("global")) == 0
    client.delete(KEYS.feed_index)
    assert writer.tend_after(FIRST_RETRY_S).rewrite_feeds == {"global"}
    writer.write(whole_feed("global", {"a": 1.0}))
    assert (index(client), feed_of(client)) == ({"global": 10}, {"a": 1.0})


def test_a_feed_that_a_newer_owner_made_again_stays_on_the_index(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    former = SteppedWriter(own_redis.url)
    former.write(whole_feed("global", {"a": 1.0}), token=10)
    writer.write(whole_feed("global", {"a": 1.0}), token=11)
    former.write(removed_feeds=["global"], token=10)
    assert index(client) == {"global": 11}


def test_an_index_that_somebody_removed_is_made_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {}), whole_feed("lang:en", {}))
    client.delete(KEYS.feed_index)
    report = writer.tend_after(1.0)
    assert index(client) == {"global": 10, "lang:en": 10}
    assert not report.flushed


def test_a_feed_that_is_removed_and_made_again_at_once_is_on_the_index(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"a": 1.0}))
    writer.write(removed_feeds=["global"])
    writer.write(whole_feed("global", {"a": 1.0}))
    assert index(client) == {"global": 10}


# --- one key that fails ---------------------------------------------------------------------


def test_an_error_on_one_key_concerns_that_key_alone(
    writer: SteppedWriter, client: RedisClient
) -> None:
    client.set(KEYS.feed("broken"), "no feed")
    client.set(KEYS.signals("broken"), "no hash")
    changes: list[SignalsChange | FeedChange] = [
        *(whole_post("p"), whole_post("broken"), whole_post("q")),
        *(whole_feed("global", {"p": 1.0}), whole_feed("broken", {"p": 1.0})),
    ]
    report = writer.write(*changes)
    assert (set(report.written_feeds), report.written_posts) == ({"global"}, 2)
    assert report.errors == {"WRONGTYPE": 2}
    assert writer.batch_writer.trouble == ""

    # Nothing is written again before its time; a change of the others goes on as a change.
    report = writer.write(post_change("p", x="1"), feed_change("global", {"q": 2.0}, size=2))
    assert (set(report.written_feeds), report.written_posts) == ({"global"}, 1)
    report = writer.write(post_change("broken", x="1"), feed_change("broken", {"q": 1.0}, size=2))
    assert report == WriteReport()
    assert not writer.tend_after(FIRST_RETRY_S * 0.9).rewrite_posts
    report = writer.tend_after(FIRST_RETRY_S * 0.1)
    assert (report.rewrite_feeds, report.rewrite_posts) == ({"broken"}, {"broken"})

    # It fails once more and waits twice as long; then its key is free.
    assert writer.write(*changes[1:2], *changes[4:]).errors == {"WRONGTYPE": 2}
    assert not writer.tend_after(FIRST_RETRY_S * 1.9).rewrite_feeds
    assert writer.tend_after(FIRST_RETRY_S * 0.1).rewrite_feeds == {"broken"}
    client.delete(KEYS.feed("broken"), KEYS.signals("broken"))
    report = writer.write(*changes[1:2], *changes[4:])
    assert (set(report.written_feeds), report.written_posts) == ({"broken"}, 1)
    assert not writer.tend_after(60.0).rewrite_feeds


def test_removals_that_fail_are_repeated_by_the_writer(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    broken = (KEYS.info("gone"), KEYS.signals("gone"))
    for key in broken:
        client.set(key, "no hash")
    assert writer.write(removal("gone"), removed_feeds=["gone"]).errors == {"WRONGTYPE": 2}
    client.delete(*broken)
    former = SteppedWriter(own_redis.url)
    former.write(whole_feed("gone", {"a": 1.0}), whole_post("gone"), token=9)
    report = writer.tend_after(FIRST_RETRY_S)
    assert (report.rewrite_feeds, report.rewrite_posts) == (set(), set())
    left = {KEYS.feed_tombstone("gone"), KEYS.post_tombstone("gone")}
    assert set(everything(client)) == left
    assert client.exists(*left) == 2


def test_a_removal_that_failed_does_not_remove_what_was_written_after_it(
    writer: SteppedWriter, client: RedisClient
) -> None:
    broken = (KEYS.info("again"), KEYS.signals("again"))
    for key in broken:
        client.set(key, "no hash")
    writer.write(removal("again"), removed_feeds=["again"])
    client.delete(*broken)
    writer.write(whole_feed("again", {"a": 1.0}), whole_post("again"))
    writer.tend_after(60.0)
    assert client.exists(KEYS.feed("again"), *broken) == 3


def test_scripts_that_redis_forgot_are_loaded_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"p": 1.0}), whole_post("p"))
    client.script_flush()
    report = writer.write(feed_change("global", {"q": 2.0}, size=2), post_change("p", x="1"))
    assert (set(report.written_feeds), report.written_posts) == ({"global"}, 1)
    assert not report.errors


def test_changes_of_a_feed_are_published_at_most_ten_a_second(
    own_redis: OwnRedis, writer: SteppedWriter
) -> None:
    subscription = own_redis.client().pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(KEYS.feed_changes)
    assert subscription.get_message(timeout=10) is None  # that it has subscribed
    versions = []
    for score in range(5):
        report = writer.write(whole_feed("global", {"a": float(score)}))
        versions.append(report.written_feeds["global"])
        writer.tend_after(0.03)
    writer.tend_after(0.1)
    messages = []
    while message := subscription.get_message(timeout=1):
        messages.append(json.loads(message["data"]))
    assert [message["version"] for message in messages] == [versions[0], versions[4]]
    assert (messages[0]["feed"], messages[0]["config_offset"]) == ("global", 3)
