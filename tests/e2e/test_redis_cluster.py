"""A whole engine on a Redis Cluster: feeds are right, also after a node was killed and replaced."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builders.engine import WORKER, Engine
from builders.own_cluster import OwnCluster
from builders.waiting import until
from feedmill.cli.main import main

pytestmark = pytest.mark.stack
COMMUNITIES = [f"community:{name}" for name in "abcdef"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnCluster]:
    cluster = OwnCluster(tmp_path / "cluster")
    try:
        cluster.wait()
        yield cluster
    finally:
        cluster.close()


def test_feeds_and_posts_are_right_on_three_nodes_of_which_one_is_replaced(
    cluster: OwnCluster, start_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = start_engine(WORKER, redis_url=cluster.url)
    posts = [f"p{i}" for i in range(60)]
    shown = {feed: set(posts[i::6]) for i, feed in enumerate(COMMUNITIES)}
    for i, post in enumerate(posts):
        engine.post(post, communities=["abcdef"[i % 6]])
    engine.wait_decided(posts)

    def is_right() -> bool:
        hidden = {post for post, truth in engine.truths().items() if truth["decision"] == "hide"}
        found = {feed: set(engine.order(feed)) for feed in COMMUNITIES}
        wanted = {feed: members - hidden for feed, members in shown.items()}
        return engine.is_right() and found == wanted

    def has_arms() -> bool:
        arm = f"{engine.prefix}feed:{{global}}:arm:one"
        copy, b = (engine.redis.zrange(f"{arm}.{name}", 0, -1, desc=True) for name in ("a2", "b"))
        return copy == engine.order() and len(b) == len(copy)

    until(is_right)
    arms = [{"name": "a", "share": 5000}, {"name": "a2", "share": 3000, "control_copy": True}]
    arms.append({"name": "b", "share": 2000, "weights": {"half_life_hours": 1}})
    fixed = {"feeds": ["global"], "salt": "s", "planned_n": 1000}
    engine.set("experiments/one", {"arms": arms, **fixed})
    until(has_arms)
    nodes = {feed: cluster.node_of(f"{engine.prefix}feed:{{{feed}}}") for feed in COMMUNITIES}
    assert len({id(node) for node in nodes.values()}) > 1
    engine.hide("p7")
    engine.wait_gone("p7")

    gone = cluster.node_of(f"{engine.prefix}feed:{{global}}")
    replica = cluster.add_replica(gone)
    cluster.replace(gone, replica)
    engine.hide("p8")
    engine.wait_gone("p8")
    # Another one is empty at once, as one that was restarted.
    next(node for node in cluster.nodes if node is not replica).client.flushall()
    until(is_right)
    until(has_arms)
    assert set(engine.truths()) == set(posts)

    # Of each node the settings count.
    for number, node in enumerate(cluster.nodes):
        node.client.config_set("hash-max-listpack-value", 60 + number)
    engine.use_environment(monkeypatch)
    for line in ("feed community:a", "feed global --arm b", "explain p9", "health", "doctor"):
        said = CliRunner().invoke(main, line.split())
        assert said.exit_code == 0, said.output
    for number, node in enumerate(cluster.nodes):
        assert f"hash-max-listpack-value is {60 + number}, below 64" in said.stdout
        assert f"redis://127.0.0.1:{node.port}/0" in said.stdout
