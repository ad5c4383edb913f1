"""Instances side by side: one's end is nobody else's, and its work goes to the others."""

from typing import Any

import pytest
from kafka.admin import KafkaAdminClient

from builders.engine import Engine
from builders.engine_topics import PARTITIONS, Json
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

GATES = {"nsfw": {"enabled": False}, "misinformation": {"enabled": False}}


def members(engine: Engine, group: str) -> dict[str, set[int]]:
    """By worker which partitions its group gave it."""
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    try:
        described: Json = admin.describe_groups([engine.topic(group)])
    finally:
        admin.close()
    by_pid = {f"-{worker.pid}-": worker.name for worker in engine.workers.values()}
    found: dict[str, set[int]] = {}
    for member in described[engine.topic(group)]["members"]:
        assignment = member["member_assignment"]
        parts = {p for topic in assignment["assigned_partitions"] for p in topic["partitions"]}
        (name,) = (name for pid, name in by_pid.items() if pid in member["client_id"])
        found[name] = parts
    return found


def post_and_wait(engine: Engine, tag: str) -> None:
    """Write posts to every partition and wait until all are ranked."""
    posts = [f"{tag}-{i}" for i in range(20)]
    born = {"created_at_ms": now_ms(), "text": "A walk by the river"}
    engine.posts({"post_id": p, "author_id": p, **born} for p in posts)
    until(lambda: set(posts) <= set(engine.order()))


def test_a_stage_restarts_alone_and_shares_its_partitions(start_engine: Any) -> None:
    engine: Engine = start_engine("spam", "quality", "combiner")
    engine.wait_applied(engine.set("gates", GATES))
    post_and_wait(engine, "first")
    before = engine.instances()
    engine.workers["spam"].stop()
    engine.send("posts", "meanwhile", {"post_id": "meanwhile"}).get(10)
    engine.restart("spam")
    engine.wait_ready("spam")
    post_and_wait(engine, "restarted")
    ranked_ms = now_ms()
    until(lambda: all(beat["at_ms"] > ranked_ms for beat in engine.instances().values()), 20)
    after = engine.instances()
    for name, beat in before.items():
        if beat["stage"] != "spam":
            same = ("pid", "models", "build", "ready", "config_offset")
            assert {k: beat[k] for k in same} == {k: after[name][k] for k in same}
            assert after[name]["lag"] == 0

    engine.start("spam", tag="-2")
    engine.wait_ready("spam-2")
    every = set(range(PARTITIONS))
    until(
        lambda: sorted(map(len, members(engine, "worker-spam").values())) == [2, 2], 20, every=0.3
    )
    shared = members(engine, "worker-spam")
    assert shared["spam"] | shared["spam-2"] == every
    post_and_wait(engine, "shared")
    engine.workers["spam"].kill()
    post_and_wait(engine, "handed-over")
    assert members(engine, "worker-spam") == {"spam-2": every}
    assert engine.complaints() == []
