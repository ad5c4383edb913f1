"""A Redis without memory to spare: nothing grows, and what is hidden or deleted leaves."""

import pytest

from builders.changes import (
    feed_change,
    post_change,
    removal,
    weights_of,
    whole_feed,
    whole_post,
)
from builders.own_redis import RedisClient
from builders.redis_writer import KEYS, SteppedWriter
from feedmill.streams.redis.round_trip import FIRST_RETRY_S

pytestmark = pytest.mark.stack


def fill(client: RedisClient) -> None:
    """Leave no memory for anything new."""
    client.config_set("maxmemory", 1)


def make_room(client: RedisClient) -> None:
    client.config_set("maxmemory", 0)


def members(client: RedisClient, feed: str = "global") -> set[str]:
    return set(client.zrange(KEYS.feed(feed), 0, -1))


def test_memory_does_not_grow_over_its_limit(writer: SteppedWriter, client: RedisClient) -> None:
    writer.write(*(whole_post(f"p{i}", text="x" * 200) for i in range(200)))
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
    refused = 0
    for start in range(0, 20_000, 200):
        posts = [whole_post(f"n{i}", text="x" * 200) for i in range(start, start + 200)]
        feed = whole_feed("global", {change.post_id: 1.0 for change in posts[: start // 100]})
        again = [whole_post(f"p{i}", text="x" * 200, more="y" * 200) for i in range(200)]
        refused += writer.write(*posts, *again, feed).errors["OOM"]
    memory = client.info("memory")
    # A script that runs at the limit may end, and buffers count as well.
    assert memory["used_memory"] < memory["maxmemory"] + 300_000
    assert refused > 15_000


def test_only_what_needs_memory_fails_and_comes_when_there_is_some(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(
        *(whole_post("old"), whole_post("hidden")),
        *(whole_feed("global", {"old": 1.0, "hidden": 2.0}), whole_feed("small", {"old": 1.0})),
    )
    fill(client)
    report = writer.write(
        *(whole_post("new"), removal("hidden")),
        feed_change("global", {"new": 3.0}, ["hidden"], size=2),
        feed_change("small", {"new": 3.0}, size=2),
    )
    assert report.errors == {"OOM": 2}
    assert (set(report.written_feeds), report.written_posts) == ({"global"}, 1)
    assert members(client) == {"old", "new"}
    assert members(client, "small") == {"old"}
    assert client.exists(KEYS.signals("hidden"), KEYS.signals("new")) == 0
    assert client.exists(KEYS.post_tombstone("hidden")) == 1
    assert not report.flushed
    assert writer.batch_writer.shortage.startswith("Redis: OOM ")
    assert writer.batch_writer.trouble == ""

    make_room(client)
    report = writer.tend_after(FIRST_RETRY_S)
    assert writer.batch_writer.shortage == ""
    assert (report.rewrite_feeds, report.rewrite_posts) == ({"small"}, {"new"})
    report = writer.write(whole_post("new"), whole_feed("small", {"new": 3.0, "old": 1.0}))
    assert (set(report.written_feeds), report.written_posts) == ({"small"}, 1)


def test_a_hidden_post_leaves_a_feed_that_would_grow_all_the_same(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"old": 1.0, "hidden": 2.0}))
    before = client.hgetall(KEYS.info("global"))
    fill(client)
    report = writer.write(feed_change("global", {"a": 3.0, "b": 3.0}, ["hidden"], size=3))
    assert (report.written_feeds, report.errors["OOM"]) == ({}, 1)
    assert members(client) == {"old"}
    after = client.hgetall(KEYS.info("global"))
    assert after["size"] == "1"
    assert int(after["version"]) > int(before["version"])
    assert after["weights"] == before["weights"]
    make_room(client)
    assert writer.tend_after(FIRST_RETRY_S).rewrite_feeds == {"global"}


def test_a_post_that_is_hidden_while_a_feed_waits_leaves_at_once(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"old": 1.0, "hidden": 2.0}))
    fill(client)
    assert writer.write(feed_change("global", {"a": 3.0}, size=3)).errors == {"OOM": 1}
    # The combiner takes the first change as written, and goes on from there.
    report = writer.write(feed_change("global", {"b": 3.0}, ["hidden"], size=3))
    assert not report.errors
    assert members(client) == {"old"}
    make_room(client)
    assert writer.tend_after(FIRST_RETRY_S).rewrite_feeds == {"global"}


def test_a_whole_feed_that_does_not_grow_is_written_with_its_new_weights(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {f"p{i}": 1.0 for i in range(500)}))
    fill(client)
    changed = {f"q{i}" if i % 2 else f"p{i}": 2.0 for i in range(500)}
    report = writer.write(whole_feed("global", changed, weights=weights_of(0.125)))
    assert set(report.written_feeds) == {"global"}
    assert dict(client.zrange(KEYS.feed("global"), 0, -1, withscores=True)) == changed
    assert '"quality":0.125' in client.hget(KEYS.info("global"), "weights")

    grown = {**changed, "another": 3.0}
    del grown["p0"]
    del grown["p2"]
    grown |= {"b": 1.0, "c": 1.0}
    report = writer.write(whole_feed("global", grown, weights=weights_of(0.25)))
    assert (report.written_feeds, report.errors["OOM"]) == ({}, 1)
    assert members(client) == set(changed) - {"p0", "p2"}
    assert '"quality":0.125' in client.hget(KEYS.info("global"), "weights")


def test_feeds_stay_fresh_and_scores_move_without_memory(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"a": 1.0}), at_ms=1_000)
    fill(client)
    writer.write(feed_change("global", {}, size=1), at_ms=6_000, fresh_feeds={"global"})
    assert client.hget(KEYS.info("global"), "fresh_until_ms") == "21000"
    writer.write(feed_change("global", {"a": 5.0}, size=1))
    assert client.zscore(KEYS.feed("global"), "a") == 5.0


def test_a_change_of_a_post_that_waits_is_not_tried_before_its_time(
    writer: SteppedWriter, client: RedisClient
) -> None:
    fill(client)
    assert writer.write(whole_post("p")).errors == {"OOM": 1}
    client.config_resetstat()
    writer.write(post_change("p", x="1"))
    assert "cmdstat_evalsha" not in client.info("commandstats")
    make_room(client)
    assert writer.tend_after(FIRST_RETRY_S).rewrite_posts == {"p"}
