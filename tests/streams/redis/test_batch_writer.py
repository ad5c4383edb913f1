"""What is written to a real Redis, under which token, and what of it fails alone or altogether."""

import json
import random

import pytest
import redis
from redis.crc import key_slot

from builders.changes import feed_change, post_change, removal, weights_of, whole_feed, whole_post
from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import KEYS, PREFIX, SteppedWriter, everything, feed_of, index
from builders.waiting import in_background, now_ms
from feedmill.events.partition import ALL_SHARDS, shard_of
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.batch_writer import FeedIndex, FlushMarker, FlushMarkers
from feedmill.streams.redis.pipelines import CommandPipeline, open_pipeline
from feedmill.streams.redis.reader import FeedReader
from feedmill.streams.redis.round_trip import FIRST_RETRY_S
from feedmill.streams.redis.scripts import TOMBSTONE_MS, Command, Keys, load_commands
from feedmill.streams.redis.write_batch import WriteReport

pytestmark = pytest.mark.stack


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
    writer.write(whole_post("p", spam="0.5 v1 1", decided_by="spam@v1"))
    report = writer.write(post_change("p", spam="0.1 v2 9", decided_by=""))
    key = KEYS.signals("p")
    usual = {"post": "7 1700000000000 5", "author_id": "ann", "decision": "show", "owner": "10"}
    assert client.hgetall(key) == {**usual, "spam": "0.1 v2 9"}
    assert client.object("encoding", key) == "listpack"
    assert 3_500_000 < client.pttl(key) <= 3_600_000
    assert report.written_posts == 1
    writer.write(whole_post("p", quality="0.5 v1 1"))
    assert client.hgetall(key) == {**usual, "quality": "0.5 v1 1"}


def test_what_redis_does_not_hold_is_asked_for_whole(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"a": 1.0}), whole_post("p"))
    client.zadd(KEYS.feed("global"), {"stranger": 3.0})
    report = writer.write(
        feed_change("global", {"b": 2.0}, size=2),
        feed_change("new", {"b": 2.0}, size=2),
        post_change("p", post_offset=8, spam="0.5 v1 1"),
        post_change("q", spam="0.5 v1 1"),
    )
    assert report.rewrite_feeds == {"global", "new"}
    assert report.rewrite_posts == {"p", "q"}
    assert feed_of(client) == {"a": 1.0, "stranger": 3.0}
    assert "spam" not in client.hgetall(KEYS.signals("p"))
    assert client.exists(KEYS.signals("q"), KEYS.feed("new")) == 0


# --- tokens and tombstones ------------------------------------------------------------------


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
    of_list = (keys.feed, keys.info, keys.feed_copy)
    of_feed = [key("lang:en", arm) for key in of_list for arm in ("", "one.b")]
    of_feed.append(keys.feed_tombstone("lang:en"))
    assert len({key_slot(key.encode()) for key in of_feed}) == 1
    of_post = (keys.signals, keys.post_tombstone)
    assert len({key_slot(key("post:1").encode()) for key in of_post}) == 1


# --- the index of feeds ---------------------------------------------------------------------


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
    writer.write(whole_feed("global", {"a": 1.0}), whole_feed("community:a", {"p": 1.0}))
    writer.write(removed_feeds=["global"])
    assert index(client) == {"community:a": 10}
    writer.write(whole_feed("global", {"a": 1.0}))
    assert index(client) == {"community:a": 10, "global": 10}


def test_a_late_removal_leaves_the_place_of_a_newer_owner(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"a": 1.0}), whole_feed("lang:en", {}), token=11)
    pipeline = CommandPipeline(own_redis.client(decode_responses=False))
    tokens = {"global": 10, "lang:en": 11}
    former = FeedIndex(KEYS).remove_command(tokens)
    assert pipeline.execute([*load_commands(), former])[-1] == 1
    assert index(client) == {"global": 11}
    pipeline.close()


def test_a_feed_made_again_before_it_was_off_the_index_is_put_there_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    writer.write(whole_feed("global", {"a": 1.0}))
    client.rename(KEYS.feed_index, "aside")
    client.set(KEYS.feed_index, "no sorted set")
    writer.write(removed_feeds=["global"])
    client.delete(KEYS.feed_index)
    writer.write(whole_feed("global", {"a": 1.0}))
    assert index(client) == {"global": 10}
    writer.tend_after(1.0)
    assert index(client) == {"global": 10}


# --- order and messages ---------------------------------------------------------------------


@pytest.mark.parametrize("feeds_first", [False, True])
def test_signals_are_written_before_the_feeds_that_show_them_unless_told_otherwise(
    writer: SteppedWriter, client: RedisClient, feeds_first: bool
) -> None:
    writer.write(whole_feed("global", {}))
    client.config_set("slowlog-log-slower-than", 0)
    writer.write(
        *(feed_change("global", {"p": 1.0, "q": 1.0}, size=2), whole_post("p"), whole_post("q")),
        feeds_first=feeds_first,
    )
    client.config_set("slowlog-log-slower-than", -1)
    commands = [entry["command"].split() for entry in client.slowlog_get(100)]
    keys = [words[3].decode() for words in commands if words[0] == b"EVALSHA"]
    posts = [KEYS.signals("p"), KEYS.signals("q")]
    feed = [KEYS.feed("global")]
    assert list(reversed(keys)) == (feed + posts if feeds_first else posts + feed)


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
        writer.announce_after(0.03)
    writer.announce_after(0.1)
    messages = []
    while message := subscription.get_message(timeout=1):
        messages.append(json.loads(message["data"]))
    assert [message["version"] for message in messages] == [versions[0], versions[4]]
    assert (messages[0]["feed"], messages[0]["config_offset"]) == ("global", 3)


def test_a_feed_that_a_former_owner_put_there_later_is_noticed(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    former = SteppedWriter(own_redis.url)
    former.write(whole_feed("global", {"a": 1.0}), token=10)
    writer.write(whole_feed("global", {"a": 1.0}), token=11)
    assert writer.tend_after(1.0).existing_feeds is None
    former.write(whole_feed("community:a", {"a": 1.0}), token=10)
    assert set(writer.tend_after(1.0).existing_feeds or ()) == {"community:a", "global"}
    writer.write(removed_feeds=["community:a"], token=11)
    assert writer.tend_after(1.0).existing_feeds is None

    # The former owner takes the shorter index for a broken one, until it gives its feeds up.
    former.tend_after(1.0)
    assert index(client) == {"community:a": 10, "global": 11}
    former.batch_writer.own(frozenset(), ALL_SHARDS)
    writer.write(removed_feeds=["community:a"], token=11)
    assert former.tend_after(1.0).existing_feeds is None
    assert index(client) == {"global": 11}


def test_a_writer_counts_and_lists_the_feeds_of_its_own_shards_alone(
    own_redis: OwnRedis, writer: SteppedWriter, client: RedisClient
) -> None:
    feeds = [f"community:{n}" for n in range(40)]
    # Several runs of shards, one at either end.
    shards = frozenset(shard for shard in ALL_SHARDS if shard % 5 < 3)
    mine = {feed for feed in feeds if shard_of(feed) in shards}
    other = SteppedWriter(own_redis.url)
    for one, of_one in ((writer, shards), (other, ALL_SHARDS - shards)):
        one.batch_writer.own(of_one, ALL_SHARDS)
        names = [feed for feed in feeds if shard_of(feed) in of_one]
        one.write(*(whole_feed(feed, {"p": 1.0}) for feed in names))
    for one, own in ((writer, mine), (other, {*feeds} - mine)):
        assert {*(one.tend_after(1.0).existing_feeds or ())} == own
        assert one.tend_after(1.0).existing_feeds is None

    client.zrem(KEYS.feed_index, *feeds)
    writer.tend_after(1.0)
    assert index(client).keys() == mine
    other.tend_after(1.0)
    assert sorted(index(client)) == sorted(feeds)


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


def test_a_post_keeps_no_field_of_before_that_is_not_written_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    """Drawn fields, of which some come and some go, few enough and too many for a short map."""
    drawn = random.Random(5)
    usual = {"post": "7 1700000000000 5", "author_id": "ann", "decision": "show", "owner": "10"}
    for most in (0, 5, 11, 12, 13, 129):
        for _ in range(6):
            names = drawn.sample(range(130), drawn.randint(0, most))
            fields = {f"s{name}": "é" * drawn.randint(1, 40) for name in names}
            assert writer.write(whole_post("p", **fields)).written_posts == 1
            assert client.hgetall(KEYS.signals("p")) == usual | fields
    client.delete(KEYS.signals("p"))
    client.hset(KEYS.signals("p"), "stranger", "x")  # of no owner
    writer.write(whole_post("p"))
    assert client.hgetall(KEYS.signals("p")) == usual


@pytest.mark.parametrize("post_id", ["p", "é", "x" * 200, "\U0001f600" * 3])
def test_a_post_is_found_by_its_id_whatever_that_is(
    writer: SteppedWriter, client: RedisClient, post_id: str
) -> None:
    written = [whole_post(post_id), whole_post(f"{post_id}2"), removal(f"{post_id}3")]
    assert writer.write(*written).written_posts == 3
    assert writer.write(post_change(post_id, more="é"), whole_post("q")).written_posts == 2
    assert client.hget(KEYS.signals(post_id), "more") == "é"
    kept = {KEYS.signals(one) for one in (post_id, f"{post_id}2", "q")}
    assert set(everything(client)) == kept | {KEYS.post_tombstone(f"{post_id}3")}


@pytest.mark.parametrize("text", ["\0", "x" * 70_000, "é\U0001f600" * 40])
def test_a_field_of_a_post_may_be_any_text(
    writer: SteppedWriter, client: RedisClient, text: str
) -> None:
    for _ in range(2):
        assert writer.write(whole_post("p", reason=text, more="y")).written_posts == 1
        stored = client.hgetall(KEYS.signals("p"))
        assert (stored["reason"], stored["more"], len(stored)) == (text, "y", 6)
