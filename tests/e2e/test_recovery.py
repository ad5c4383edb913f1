"""A worker for each stage, killed one by one: nothing is lost, nothing counted twice."""

from collections import Counter
from typing import Any

import pytest

from builders.engine import STAGES, WORKER, Engine
from builders.recovery import assert_same, feeds, send, settle, workload
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack


def test_killed_stages_lose_and_repeat_nothing(start_engine: Any) -> None:
    work = workload(now_ms() - 90_000_000)
    # Stages that run apart come to what they come to in one process, where nothing disturbs them.
    calm: Engine = start_engine(WORKER)
    send(calm, work.records)
    wanted = settle(calm, work)
    assert calm.complaints() == []
    calm.workers[WORKER].stop()

    engine: Engine = start_engine(*STAGES)
    parts = len(STAGES) + 2
    share = len(work.records) // parts + 1
    for n, stage in enumerate((None, *STAGES, "engagement")):
        if stage:
            engine.workers[stage].kill()
            engine.restart(stage)
        send(engine, work.records[n * share : (n + 1) * share], rate=300)
    assert_same(settle(engine, work), wanted)
    decisions = Counter(t["decision"] for t in engine.truths().values())
    assert min(decisions["show"], decisions["hide"] + decisions["demote"]) > 10

    assert engine.forget_redis() > 400
    until(lambda: feeds(engine) == wanted and set(engine.truths()) == set(work.counts), 30)
    assert engine.complaints() == []
