"""One worker for all stages: the same decisions, exactly once whatever kills it, at once."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from builders.engine import FUSED, Engine, Json
from builders.recorded_engine import RECORDED, recorded_posts, settled
from builders.recovery import assert_same, counted, feeds, send, settle, workload
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

TOLERANCE = 1e-9
KILLS = 5


@pytest.fixture
def fused(start_engine: Any) -> Engine:
    engine: Engine = start_engine(FUSED)
    return engine


def test_it_decides_and_scores_as_a_process_for_each_stage_does(fused: Engine) -> None:
    recorded: Json = json.loads(RECORDED.read_text("utf-8"))
    with recorded_posts(fused) as sent:
        found = settled(fused, sent)
    for exact in ("decisions", "models", "age_ms"):
        assert found[exact] == recorded[exact]
    for post_id, values in found["values"].items():
        assert values == pytest.approx(recorded["values"][post_id], abs=TOLERANCE, rel=0), post_id
    assert found["scores"] == pytest.approx(recorded["scores"], abs=TOLERANCE, rel=0)
    assert fused.complaints() == []


def test_a_worker_that_is_killed_loses_and_repeats_nothing(start_engine: Any) -> None:
    work = workload(now_ms() - 90_000_000)
    calm: Engine = start_engine(FUSED)
    send(calm, work.records)
    wanted = settle(calm, work)
    calm.workers[FUSED].stop()

    engine: Engine = start_engine(FUSED)
    drawn = random.Random(11)
    share = len(work.records) // (KILLS + 1) + 1
    for n in range(KILLS + 1):
        part = work.records[n * share : (n + 1) * share]
        cut = drawn.randrange(len(part) // 2, len(part))
        send(engine, part[:cut], rate=1500)
        if n < KILLS:
            engine.workers[FUSED].kill()
            engine.restart(FUSED)
        send(engine, part[cut:])
    assert_same(settle(engine, work), wanted)
    assert counted(engine) == work.counts
    decisions = Counter(t["decision"] for t in engine.truths().values())
    assert min(decisions["show"], decisions["hide"] + decisions["demote"]) > 10

    assert engine.forget_redis() > 400
    until(lambda: feeds(engine) == wanted and set(engine.truths()) == set(work.counts), 30)


def test_weights_and_overrides_show_under_the_version_that_says_so(fused: Engine) -> None:
    at_ms = now_ms()
    for i in range(40):
        fused.post(f"p{i}", text=f"a story of {i} birds and {i * 7} boats", created_at_ms=at_ms - i)
    fused.wait_decided([f"p{i}" for i in range(40)])
    until(lambda: len(fused.order()) == 40)
    offset = fused.set("weights", {"quality": 1.0, "engagement": 0.0})
    fused.wait_applied(offset)
    fused.check_feed("global", fused.truths())
    first = fused.order()[0]
    hidden = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
    fused.send("overrides", f"post:{first}|*", hidden).get(10)
    until(lambda: first not in fused.order())
    fused.check_feed("global", fused.truths())
