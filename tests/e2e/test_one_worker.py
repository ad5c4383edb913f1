"""One worker for all stages: exactly once whatever kills it, and at once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from builders.engine import WORKER, Engine
from builders.recovery import assert_same, counted, feeds, send, settle, workload
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

KILLS = 5
ALL_SIGNALS = ("spam", "nsfw", "misinformation", "quality", "engagement")


def test_a_worker_that_is_killed_loses_and_repeats_nothing(start_engine: Any) -> None:
    work = workload(now_ms() - 90_000_000)
    calm: Engine = start_engine(WORKER)
    send(calm, work.records)
    wanted = settle(calm, work)
    calm.workers[WORKER].stop()

    engine: Engine = start_engine(WORKER)
    drawn = random.Random(11)
    share = len(work.records) // (KILLS + 1) + 1
    for n in range(KILLS + 1):
        part = work.records[n * share : (n + 1) * share]
        cut = drawn.randrange(len(part) // 2, len(part))
        send(engine, part[:cut], rate=1500)
        if n < KILLS:
            engine.workers[WORKER].kill()
            engine.restart(WORKER)
        send(engine, part[cut:])
    assert_same(settle(engine, work), wanted)
    assert counted(engine) == work.counts
    decisions = Counter(t["decision"] for t in engine.truths().values())
    assert min(decisions["show"], decisions["hide"] + decisions["demote"]) > 10

    assert engine.forget_redis() > 400
    until(lambda: feeds(engine) == wanted and set(engine.truths()) == set(work.counts), 30)


def test_weights_and_overrides_show_under_the_version_that_says_so(start_engine: Any) -> None:
    engine: Engine = start_engine(WORKER)
    at_ms = now_ms()
    for i in range(40):
        engine.post(
            f"p{i}", text=f"a story of {i} birds and {i * 7} boats", created_at_ms=at_ms - i
        )
    engine.wait_decided([f"p{i}" for i in range(40)])
    until(lambda: len(engine.order()) == 40)
    offset = engine.set("weights", {"quality": 1.0, "engagement": 0.0})
    engine.wait_applied(offset)
    engine.check_feed("global", engine.truths())
    first = engine.order()[0]
    hidden = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
    engine.send("overrides", f"post:{first}|*", hidden).get(10)
    until(lambda: first not in engine.order())
    engine.check_feed("global", engine.truths())


def test_a_deletion_withdraws_what_was_written_and_nothing_else(start_engine: Any) -> None:
    engine: Engine = start_engine(WORKER)
    engine.post("kept")
    engine.post("gone")
    engine.wait_decided(["kept", "gone"])
    engine.send("posts", "never-was", None)
    engine.send("posts", "gone", None).get(10)
    engine.restart(WORKER)
    engine.send("posts", "never-was-either", None)
    # Behind the deletions, in every partition.
    after = [f"after-{i}" for i in range(20)]
    for post_id in after:
        engine.post(post_id)
    engine.wait_decided(after)
    topics = [*(f"signals.{name}" for name in ALL_SIGNALS), "counters"]
    wanted = {engine.topic(topic): ["gone"] for topic in topics}

    def withdrawn() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for record in engine.read_all(*topics):
            if not record.value:
                found.setdefault(record.topic, []).append(record.key.decode())
        return found

    until(lambda: withdrawn() == wanted)
