"""A declared signal, written by the test, gates and ranks like those that ship."""

import json
import time
from typing import Any

import pytest

from builders.engine import Engine
from builders.waiting import until

pytestmark = pytest.mark.stack


def test_a_declared_gate_holds_and_a_declared_objective_weighs_in(start_engine: Any) -> None:
    engine: Engine = start_engine("combiner", signals="extreme:gate,novelty:objective")
    offsets = {post: engine.post(post) for post in ("one", "two", "three")}
    for name in ("spam", "nsfw", "misinformation"):
        for post, offset in offsets.items():
            engine.signal(name, post, offset, 0.0)
    for post, offset in offsets.items():
        engine.signal("quality", post, offset, 0.5).get(10)
    policy = {"extreme": {"enabled": True, "hide_at": 0.8, "demote_at": 0.5, "demote_factor": 0.25}}
    engine.wait_applied(engine.set("gates", policy))
    until(lambda: {engine.truth(p).get("decision") for p in offsets} == {"hold"}, 10)
    assert engine.order() == []
    engine.signal("extreme", "one", offsets["one"], 0.1)
    engine.signal("extreme", "two", offsets["two"], 0.6)
    engine.signal("extreme", "three", offsets["three"], 0.9)
    until(lambda: engine.order() == ["one", "two"], 10)
    assert engine.truth("three")["decided_by"] == "extreme@written-by-the-test"
    assert engine.truth("two")["decision"] == "demote"
    assert engine.check_feed() == 2

    engine.wait_applied(engine.set("weights", {"quality": 0.5, "engagement": 0.5, "novelty": 2}))
    engine.signal("novelty", "two", offsets["two"], 4.5).get(10)  # no unit range beyond the five
    until(lambda: engine.order() == ["two", "one"], 10)
    assert json.loads(engine.feed()[1]["weights"])["novelty"] == 2
    until(lambda: engine.truth("two")["novelty"]["value"] == 4.5, 5)
    assert engine.check_feed() == 2
    refused = engine.set("weights", {"quality": 1, "engagement": 1, "charm": 1})
    engine.wait_applied(refused)
    assert any(r["offset"] == refused for b in engine.instances().values() for r in b["refused"])

    engine.post("one", "edited")
    until(lambda: engine.order() == ["two"], 10)
    time.sleep(0.2)
    assert engine.truth("one")["decision"] == "hold"
    assert engine.complaints() == []
