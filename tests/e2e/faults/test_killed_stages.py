"""A worker for each stage, killed one by one: nothing is lost, nothing counted twice."""

import random
import time

from builders.engine import STAGES
from builders.fault_engine import FaultEngine
from builders.waiting import in_background
from chaos.load import Load
from chaos.recovery import Probe, settled


def test_killed_stages_lose_and_repeat_nothing(engine: FaultEngine) -> None:
    engine.start(*STAGES)
    engine.wait_ready()
    load = Load(engine, random.Random(5), rate=150)
    with in_background(load.send_until):
        Probe(engine).seconds()
        # The last one while it may be starting again.
        for stage in (*STAGES, "engagement"):
            time.sleep(1.0)
            engine.workers[stage].kill()
            engine.restart(stage)
        Probe(engine).seconds()
    assert settled(engine).examples == []
    decisions = {truth["decision"] for truth in engine.truths().values()}
    assert {"show", "hide"} <= decisions

    assert engine.forget_redis() > 100
    assert settled(engine).examples == []
    assert engine.complaints() == []
