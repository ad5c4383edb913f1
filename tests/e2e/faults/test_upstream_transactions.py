"""Producers upstream that write in transactions: what is not committed has no effect."""

import json
import time
from functools import partial
from typing import Any

from builders.engine import Engine
from builders.engine_topics import post_of
from builders.waiting import now_ms, until

LAKES = [f"lake{n}" for n in range(12)]


def changes() -> list[tuple[str, str, Any]]:
    """One record of each kind that people and upstreams write, each of another post."""
    hide = {"verdict": "hide", "by": "mo", "reason": "seen", "at_ms": now_ms()}
    click = {"post_id": "lake4", "user_id": "u", "kind": "click", "at_ms": now_ms()}
    return [
        ("config", "weights", {"value": {"quality": 0.5, "engagement": 3.0}}),
        ("config", "rules/spam", {"value": {"calm": {"verdict": "hide", "phrases": ["lake3"]}}}),
        ("overrides", "post:lake0|*", hide),
        ("posts", "lake1", post_of("lake1", "A walk to lake1", communities=["boats"])),
        ("posts", "lake2", {"post_id": "lake2", "deleted": True}),
        ("engagements", "lake4", click),
        # Of a version that no store has: who follows it says so.
        ("models", "quality", {"sha256": "a" * 64, "answers": [0.5]}),
    ]


def shown(engine: Engine) -> dict[str, Any]:
    """What readers see of it all."""
    feed, info = engine.feed()
    beats = engine.instances().values()
    return {
        "releases": {one["model"] for beat in beats for one in beat["refused_releases"]},
        "decisions": {name: truth["decision"] for name, truth in engine.truths().items()},
        "feed": {post_id for post_id, _ in feed},
        "weights": json.loads(info["weights"]),
        "boats": engine.redis.exists(f"{engine.prefix}feed:{{community:boats}}"),
        "clicks": sum(engine.clicks().values()),
    }


def is_shown(engine: Engine, wanted: dict[str, Any]) -> bool:
    return shown(engine) == wanted


def test_what_is_not_committed_has_no_effect(engine: Engine) -> None:
    for name in ("one", "two"):
        engine.start_worker(name)
    engine.wait_ready()
    engine.posts(post_of(name, f"A walk to {name}") for name in LAKES)
    engine.wait_decided(LAKES)
    until(lambda: len(engine.order()) == len(LAKES))
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
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            assert shown(engine) == before
        if is_committed:
            # `config` and `overrides` both stand still, and the reason names one of them.
            until(lambda: f"{engine.topic('config')}[0] is held back" in why_not_ready())
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
            engine.post("after")
            engine.wait_decided(["after"])
            until(lambda: "after" in engine.order())
            before = {**before, "feed": {*LAKES, "after"}}
            before["decisions"] = {**before["decisions"], "after": "show"}
            until(partial(is_shown, engine, before))

    def is_obeyed() -> bool:
        now = shown(engine)
        hidden = {name for name, decision in now["decisions"].items() if decision == "hide"}
        kept = now["weights"]["engagement"] == 3.0 and now["boats"] and now["releases"]
        is_counted = now["clicks"] == 1 and "lake2" not in now["decisions"]
        return bool(kept and is_counted and hidden == {"lake0", "lake3"})

    until(is_obeyed)
