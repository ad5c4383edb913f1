"""What fails alone, what fails altogether, and what is written again afterwards."""

import pytest
import redis

from builders.changes import feed_change, post_change, removal, weights_of, whole_feed, whole_post
from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import KEYS, SteppedWriter, everything, index
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.batch_writer import FlushMarker, FlushMarkers
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.round_trip import FIRST_RETRY_S
from feedmill.streams.redis.scripts import Command, Keys
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


# --- without memory to spare: nothing grows, and what is hidden or deleted leaves ----------


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


# --- a failover that lost writes; a flush: test_writer_thread -------------------------------


def kept() -> tuple[FlushMarker, list[Command]]:
    """A marker that Redis has, and the round trips so far, the last one not answered."""
    marker = FlushMarker("x.flush-marker")
    commands = [marker.command()]
    assert not marker.shows_flush(b"OK")
    for _ in range(3):
        commands.append(marker.command())
        assert not marker.shows_flush(value(commands[-2]))
    return marker, [*commands, marker.command()]


def value(command: Command) -> bytes:
    return str(command[2]).encode()


def test_an_older_value_shows_that_writes_were_lost() -> None:
    marker, commands = kept()
    assert marker.shows_flush(value(commands[-3]))  # a replica without the last round trip


def test_two_runs_have_two_markers() -> None:
    pipeline = open_pipeline("redis://127.0.0.1:1")
    (one,), (other,) = (FlushMarkers(Keys("x."), pipeline).all() for _ in range(2))
    assert one.key != other.key


def test_an_error_shows_nothing_and_is_no_acknowledgement() -> None:
    # Redis may have executed what it did not answer, or may not.
    for at in (-2, -1):
        marker, commands = kept()
        assert not marker.shows_flush(redis.ConnectionError("away"))
        marker.command()
        assert not marker.shows_flush(value(commands[at]))
