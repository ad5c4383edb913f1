"""What fails alone, what fails altogether, and what is written again afterwards."""

import pytest

from builders.changes import (
    feed_change,
    post_change,
    removal,
    whole_feed,
    whole_post,
)
from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import (
    KEYS,
    SteppedWriter,
    everything,
    index,
)
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.round_trip import FIRST_RETRY_S
from feedmill.streams.redis.write_batch import WriteReport

pytestmark = pytest.mark.stack


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


def test_what_a_server_refused_altogether_is_repeated_as_soon_as_it_accepts(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_post("gone"), whole_feed("left", {"a": 1.0}))
    client.replicaof("127.0.0.1", "1")
    report = writer.write(
        *(whole_post("p"), whole_feed("global", {"p": 1.0}), removal("gone")),
        removed_feeds=["left"],
    )
    assert report.errors["READONLY"] >= 4
    assert writer.batch_writer.trouble.startswith("Redis: READONLY")
    report = WriteReport()
    assert not writer.batch_writer.probe(report)
    assert report.errors == {"AWAY": 1}
    client.replicaof("NO", "ONE")
    assert writer.batch_writer.probe(report)
    assert report.errors == {"AWAY": 1}
    report = writer.tend_after(0.0)
    assert (report.rewrite_feeds, report.rewrite_posts) == ({"global"}, {"p"})
    assert client.exists(KEYS.signals("gone"), KEYS.feed("left")) == 0
    assert index(client) == {}


def test_versions_grow_across_a_flush(writer: SteppedWriter, client: RedisClient) -> None:
    version = writer.write(whole_feed("global", {"a": 1.0})).written_feeds["global"]
    client.flushall()
    assert writer.tend_after(1.0).flushed
    report = writer.write(whole_feed("global", {"a": 1.0}), at_ms=version - 5)
    assert report.written_feeds["global"] == version + 1


def test_scripts_that_redis_forgot_are_loaded_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"p": 1.0}), whole_post("p"))
    client.script_flush()
    report = writer.write(feed_change("global", {"q": 2.0}, size=2), post_change("p", x="1"))
    assert (set(report.written_feeds), report.written_posts) == ({"global"}, 1)
    assert not report.errors
