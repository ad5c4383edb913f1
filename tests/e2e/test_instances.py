"""Instances side by side: one's end is nobody else's, and its work goes to the others."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from builders.engine import Engine, Worker
from builders.engine_topics import PARTITIONS, Json
from builders.waiting import now_ms, until
from builders.written_redis import NotWrittenError, WrittenRedis

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


def owner_of(engine: Engine) -> Worker:
    """The worker that ranks: the owner of the first partition."""
    (name,) = (name for name, owned in members(engine, "worker-combiner").items() if 0 in owned)
    return engine.workers[name]


def test_a_second_combiner_takes_over_under_a_higher_token(start_engine: Any) -> None:
    engine: Engine = start_engine("combiner")
    engine.start("combiner", tag="-2")
    engine.wait_ready()
    until(
        lambda: sorted(map(len, members(engine, "worker-combiner").values())) == [2, 2],
        20,
        every=0.3,
    )

    def show(tag: str) -> None:
        names = ("gardening", "cycling", "cooking", "chess", "birds")
        posts = {f"{tag}-{name}": name for name in names}
        for post, name in posts.items():
            engine.write_signals({post: engine.post(post, communities=[name])}, quality=0.5)
        wanted = set(posts)
        until(lambda: wanted <= set(engine.order()))
        until(lambda: all(p in engine.order(f"community:{n}") for p, n in posts.items()))
        until(lambda: len(engine.truths(list(posts))) == len(posts))

    show("together")
    owner = owner_of(engine)
    token = int(engine.feed()[1]["owner"])
    owner.kill()
    show("alone")
    assert int(engine.feed()[1]["owner"]) > token
    engine.check_feed()

    engine.restart(owner.name)
    engine.wait_ready()
    until(lambda: len(members(engine, "worker-combiner")) == 2, 20, every=0.3)
    show("again")
    refuse_lower_tokens(engine)
    assert engine.complaints() == []


def refuse_lower_tokens(engine: Engine) -> None:
    """A paused old owner changes nothing when it goes on."""
    before, info = engine.feed()
    post_id = before[0][0]
    truth = engine.truth(post_id)
    lower = min(int(info["owner"]), int(truth["owner"])) - 1
    old_owner = WrittenRedis(engine.redis_url, engine.prefix, token=lower)
    with pytest.raises(NotWrittenError):
        old_owner.feed("global", {"intruder": 9.0})
    with pytest.raises(NotWrittenError):
        old_owner.signals(post_id, {"spam": 1.0})
    old_owner.client.close()
    assert engine.feed()[0] == before and engine.feed()[1]["owner"] == info["owner"]
    assert engine.truth(post_id) == truth


def test_no_lag_is_left_in_the_group(whole_engine: Engine) -> None:
    """What is done is committed: a restart would not do it again."""
    engine = whole_engine
    post_and_wait(engine, "committed")
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    consumer = engine.consumer("posts")
    parts = [TopicPartition(engine.topic("posts"), p) for p in range(PARTITIONS)]

    group = engine.topic("worker")

    def caught_up() -> bool:
        done = admin.list_group_offsets(group)
        done = done.get(group, done)
        return bool({p: done[p].offset for p in done if p in parts} == consumer.end_offsets(parts))

    try:
        assert all(end > 0 for end in consumer.end_offsets(parts).values())
        until(caught_up, 20, every=0.5)
    finally:
        consumer.close()
        admin.close()
