"""A Redis Cluster: each key on its node, and what a node loses is written again."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from builders.changes import feed_change, post_change, removal, whole_feed, whole_post
from builders.own_cluster import OwnCluster
from builders.own_redis import OwnRedis
from builders.redis_writer import KEYS, PREFIX, SteppedWriter, everything, feed_of
from feedmill.events.errors import FeedmillError
from feedmill.streams.redis import pipelines as cluster_module
from feedmill.streams.redis.batch_writer import FlushMarkers
from feedmill.streams.redis.pipelines import open_client, open_pipeline
from feedmill.streams.redis.reader import open_feed_reader

pytestmark = pytest.mark.stack
FEEDS = ("global", "lang:en", "community:a", "community:b")
POSTS = tuple("abcdefgh")


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnCluster]:
    cluster = OwnCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.wait()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(three_nodes: OwnCluster) -> OwnCluster:
    for node in three_nodes.nodes:
        node.client.flushall()
    return three_nodes


@pytest.fixture
def writer(cluster: OwnCluster) -> Iterator[SteppedWriter]:
    writer = SteppedWriter(cluster.url)
    yield writer
    writer.batch_writer.close()


def write_all(writer: SteppedWriter, **more: Any) -> None:
    scores = {post: float(place) for place, post in enumerate(POSTS)}
    writer.write(
        *(whole_post(post) for post in POSTS), *(whole_feed(f, scores) for f in FEEDS), **more
    )


def test_a_cluster_holds_what_one_server_would(
    own_redis: OwnRedis, cluster: OwnCluster, writer: SteppedWriter
) -> None:
    single = SteppedWriter(own_redis.url)
    for each in (single, writer):
        write_all(each, at_ms=1_000)
        each.write(feed_change("global", {"i": 9.0}, ["a"], size=8), post_change("b", x="1"))
        each.write(removal("c"), removed_feeds=["lang:en"])
    single.batch_writer.close()
    assert len({cluster.node_of(KEYS.signals(post)).port for post in POSTS}) == 3
    shown = everything(cluster.client())
    versions = {KEYS.info(feed) for feed in FEEDS} | {KEYS.feed_tombstone("lang:en")}
    expected = everything(own_redis.client())
    assert shown.keys() == expected.keys()
    assert {k: v for k, v in shown.items() if k not in versions} == {
        k: v for k, v in expected.items() if k not in versions
    }
    reader = open_feed_reader(cluster.url, PREFIX)
    feed = reader.feed("global", 3)
    assert feed is not None
    assert [post for post, _ in feed.ranking] == ["i", "h", "g"]
    assert [one.known for one in reader.posts(["a", "c", "h"])] == [True, False, True]
    assert reader.similar("globel") == "global"


@pytest.mark.parametrize("flushed", range(3))
def test_a_flush_of_one_node_is_noticed(
    cluster: OwnCluster, writer: SteppedWriter, flushed: int
) -> None:
    write_all(writer)
    assert not writer.tend_after(1.0).flushed
    cluster.nodes[flushed].client.flushall()
    assert writer.tend_after(1.0).flushed
    write_all(writer)
    assert not writer.tend_after(1.0).flushed
    assert all(feed_of(cluster.client(), feed) for feed in FEEDS)


def test_a_feed_waits_until_its_posts_are_written_on_another_node(
    cluster: OwnCluster, writer: SteppedWriter
) -> None:
    writer.write(whole_feed("global", {}))
    node = cluster.node_of(KEYS.feed("global"))
    post = next(p for p in POSTS if cluster.node_of(KEYS.signals(p)) is not node)
    other = cluster.node_of(KEYS.signals(post))
    other.client.execute_command("CLIENT", "PAUSE", 1_000, "WRITE")
    seen = []
    for each in (node, other):
        each.client.config_set("slowlog-log-slower-than", 0)
        each.client.slowlog_reset()
    writer.write(feed_change("global", {post: 1.0}, size=1), whole_post(post))
    for each in (node, other):
        each.client.config_set("slowlog-log-slower-than", -1)
        log = each.client.slowlog_get(100)
        times = [one["start_time"] for one in log if one["command"].startswith(b"EVALSHA")]
        seen.append(times[0])
    assert seen[0] >= seen[1]
    assert feed_of(cluster.client()) == {post: 1.0}


def test_a_slot_that_moves_takes_its_writes_along(
    cluster: OwnCluster, writer: SteppedWriter
) -> None:
    write_all(writer)
    slot = key_slot(KEYS.feed("global").encode())
    source = cluster.node_of(KEYS.feed("global"))
    target = next(node for node in cluster.nodes if node is not source)
    cluster.move_slot(slot, source, target)
    report = writer.write(feed_change("global", {"z": 99.0}, size=9))
    assert set(report.written_feeds) == {"global"}
    assert feed_of(cluster.client())["z"] == 99.0
    cluster.move_slot(slot, target, source)


@pytest.mark.timeout(30)
def test_nodes_that_are_found_while_markers_are_made_have_theirs_next_time(
    cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(url: str, **options: Any) -> Any:
        monkeypatch.undo()
        raise redis.ConnectionError("not now")

    monkeypatch.setattr(cluster_module, "open_client", fails_once)
    pipeline = open_pipeline(cluster.url)
    markers = FlushMarkers(KEYS, pipeline)
    assert len(markers.all()) == 1
    assert {pipeline.place_of(one.key) for one in markers.all()} == pipeline.places()
    pipeline.close()


def test_without_a_node_nothing_is_written_and_the_reason_is_told() -> None:
    writer = SteppedWriter("redis+cluster://127.0.0.1:1")
    report = writer.write(whole_feed("global", {}), whole_post("p"))
    assert (report.written_feeds, report.written_posts) == ({}, 0)
    assert "127.0.0.1:1" in writer.batch_writer.trouble
    with pytest.raises(redis.ConnectionError):
        open_feed_reader("redis+cluster://127.0.0.1:1", "")


def test_a_node_behind_the_address_of_one_server_says_which_address_it_wants(
    cluster: OwnCluster,
) -> None:
    writer = SteppedWriter(f"redis://127.0.0.1:{cluster.nodes[0].port}")
    write_all(writer)
    assert "redis+cluster://" in writer.batch_writer.trouble
    writer.batch_writer.close()


@pytest.mark.parametrize("url", ["redis+cluster://h:1,h:x", "redis+cluster://h:1/3"])
def test_a_wrong_address_of_a_cluster_is_refused(url: str) -> None:
    with pytest.raises(FeedmillError, match="Redis: "):
        open_client(url)
    open_pipeline("redis+cluster://h:1").close()
