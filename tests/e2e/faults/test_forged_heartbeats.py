"""Whoever may write heartbeats stops no ranking, ends no worker, and makes no dead judge fresh."""

import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer

from builders.engine_topics import PARTITIONS, Json
from builders.fault_engine import FaultEngine
from builders.waiting import in_background, now_ms, until

pytestmark = pytest.mark.stack

OWN = "novelty"
LIE_EVERY_S = 0.5
RANKED_WITHIN_S = 5.0
NO_SPAM = "nsfw+misinformation+quality+engagement+combiner"


def heartbeat(**more: Any) -> Json:
    """A heartbeat as a worker writes it, of an instance that does not exist."""
    usual = {"host": "h", "pid": 1, "build": "b", "config_offset": 10**9, "refused": []}
    usual |= {"instance": "liar", "models": {}, "ready": True, "lag": 0, "at_ms": now_ms()}
    return usual | more


def forged(engine: FaultEngine, own_group: str) -> list[Json]:
    """Heartbeats that lie; one names the group of a program that runs."""
    read = [{"topic": "posts", "partition": p, "lag": 0} for p in range(PARTITIONS)]
    combiner = [
        heartbeat(stage="combiner", group=group, shards=[*range(64)])
        for group in ("!", own_group, engine.topic("worker-nsfw"), engine.topic(""))
    ]
    leaving = [
        heartbeat(stage="spam", group=engine.topic("worker"), leaving=partitions)
        for partitions in ([2**31], [-1], [999_999], [*range(-9, 99)])
    ]
    return [*combiner, *leaving, heartbeat(stage="spam", group="", partitions=read)]


@pytest.fixture
def program(engine: FaultEngine) -> Any:
    """A program of one's own, whose group has members and comes before those of workers."""
    name = engine.topic(f"signals.{OWN}")
    consumer = Consumer({"bootstrap.servers": engine.kafka, "group.id": name})
    consumer.subscribe([engine.topic("posts")])
    until(lambda: consumer.poll(0.1) is not None or bool(consumer.assignment()), 30)
    yield name
    consumer.close()


def test_forged_heartbeats_stop_no_ranking_and_end_no_worker(
    engine: FaultEngine, program: str
) -> None:
    worker = engine.ready_worker()

    def lie(stop: threading.Event) -> None:
        while not stop.wait(LIE_EVERY_S):
            for number, one in enumerate(forged(engine, program)):
                engine.send("instances", f"{one['stage']}/liar-{number}", one, partition=0)

    with in_background(lie):
        time.sleep(3 * LIE_EVERY_S)
        claims = len(engine.read_all("feed-shards"))
        for number in range(3):
            engine.post(f"p{number}")
            engine.wait_shown(f"p{number}", seconds=RANKED_WITHIN_S)
            time.sleep(1)
        assert len(engine.read_all("feed-shards")) == claims, "it gave up no shard"
    assert worker.process.poll() is None
    assert engine.complaints() == []


def test_a_heartbeat_without_a_group_makes_no_dead_judge_fresh(engine: FaultEngine) -> None:
    engine.ready_worker("rest", stages=NO_SPAM)
    until(lambda: int(engine.feed()[1].get("owner", 0)) > 0, 30)
    lies = [one for one in forged(engine, "") if one["group"] == ""]
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for one in lies:
            engine.send("instances", "spam/liar", {**one, "at_ms": now_ms()}, partition=0)
        assert int(engine.feed()[1].get("fresh_until_ms", 0)) < now_ms()
        time.sleep(LIE_EVERY_S)
