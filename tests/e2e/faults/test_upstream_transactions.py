"""Producers upstream that write in transactions: markers between records hold nothing up."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from builders.engine_topics import Json
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.waiting import now_ms, until

TRANSACTIONS, ABORTED = 21, 13
Record = tuple[str, str, Json]


def post(name: str) -> Record:
    value = {"author_id": f"a-{name}", "created_at_ms": now_ms(), "text": f"A walk to {name}"}
    return "posts", name, {"post_id": name, **value}


def click(name: str, event_id: str) -> Record:
    value = {"user_id": f"u-{event_id}", "kind": "click", "at_ms": now_ms(), "event_id": event_id}
    return "engagements", name, {"post_id": name, **value}


def transaction(engine: FaultEngine, records: Sequence[Record], *, commit: bool = True) -> None:
    """Write records in one transaction of an upstream, which ends so or so."""
    producer = engine.producer_of(**{"transactional.id": engine.topic("upstream")})
    producer.init_transactions(30)
    producer.begin_transaction()
    for topic, key, value in records:
        producer.produce(engine.topic(topic), json.dumps(value), key)
    producer.flush(30)
    end: Callable[[float], Any] = (
        producer.commit_transaction if commit else producer.abort_transaction
    )
    end(30)


def clicks(engine: FaultEngine) -> dict[str, int]:
    return {p: one["counters"]["counts"][1] for p, one in engine.latest("counters").items()}


def test_a_restart_is_ready_and_aborted_records_do_not_count(engine: FaultEngine) -> None:
    names = [f"lake-{n}" for n in range(TRANSACTIONS)]
    engine.ready_worker()
    for n, name in enumerate(names):
        transaction(engine, [post(name), click(name, f"e-{n}")], commit=n != ABORTED)
    wanted = {name: 1 for n, name in enumerate(names) if n != ABORTED}
    engine.wait_decided(wanted)
    until(lambda: clicks(engine) == wanted)

    engine.workers[ALL_STAGES].stop()
    engine.restart(ALL_STAGES)
    engine.wait_ready()
    engine.send(*post("after")).get(10)
    engine.send(*click("after", "e-after")).get(10)
    wanted["after"] = 1
    until(lambda: set(engine.order()) == set(wanted))
    until(lambda: clicks(engine) == wanted)
    assert engine.truth(names[ABORTED]) == {}


def changes() -> list[tuple[str, str, Any]]:
    """One record of each kind that people and upstreams write, each of another post."""
    hide = {"verdict": "hide", "by": "mo", "reason": "seen", "at_ms": now_ms()}
    topic, key, edit = post("lake1")
    return [
        ("config", "weights", {"value": {"quality": 0.5, "engagement": 3.0}}),
        ("config", "rules/spam", {"value": {"calm": {"verdict": "hide", "phrases": ["lake3"]}}}),
        ("overrides", "post:lake0|*", hide),
        (topic, key, {**edit, "communities": ["boats"]}),
        ("posts", "lake2", {"post_id": "lake2", "deleted": True}),
        # Of a version that no store has: who follows it says so.
        ("models", "quality", {"sha256": "a" * 64, "answers": [0.5]}),
    ]


def shown(engine: FaultEngine) -> dict[str, Any]:
    """What readers see of it all."""
    decisions = {name: truth["decision"] for name, truth in engine.truths().items()}
    feed, info = engine.feed()
    boats = engine.redis.exists(f"{engine.prefix}feed:{{community:boats}}")
    weights = json.loads(info["weights"])
    beats = engine.instances().values()
    return {
        "releases": {one["model"] for beat in beats for one in beat["refused_releases"]},
        "decisions": decisions,
        "feed": {n for n, _ in feed},
        "weights": weights,
        "boats": boats,
    }


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_what_is_not_committed_has_no_effect(engine: FaultEngine, names: Sequence[str]) -> None:
    for name in names:
        engine.start_worker(name)
    engine.wait_ready()
    lakes = [f"lake{n}" for n in range(12)]
    for name in lakes:
        engine.post(name, text=f"A walk to {name}")
    engine.wait_decided(lakes)
    until(lambda: len(engine.order()) == len(lakes))
    before = shown(engine)
    producer = engine.producer_of(**{"transactional.id": engine.topic("upstream")})
    producer.init_transactions(30)

    def why_not_ready() -> str:
        return " ".join(map(engine.not_ready_since, engine.workers.values())).strip()

    for is_committed in (False, True):
        producer.begin_transaction()
        for topic, key, value in changes():
            producer.produce(engine.topic(topic), json.dumps(value), key)
        producer.flush(30)
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            assert shown(engine) == before
        if is_committed:
            # `config` and `overrides` both stand still, and the reason names one of them.
            until(lambda: f"{engine.topic('config')}[0] is held back" in why_not_ready())
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
            engine.post("after")
            until(lambda: "after" in engine.order())
            assert shown(engine)["weights"] == before["weights"]
            before = shown(engine)

    def is_obeyed() -> bool:
        now = shown(engine)
        hidden = {name for name, decision in now["decisions"].items() if decision == "hide"}
        kept = now["weights"]["engagement"] == 3.0 and now["boats"] and now["releases"]
        return kept and hidden == {"lake0", "lake3"} and "lake2" not in now["decisions"]

    until(is_obeyed)
