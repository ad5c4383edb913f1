"""A worker for each stage, killed one by one: nothing is lost, nothing counted twice."""

import random

from builders.engine import STAGES
from builders.fault_engine import FaultEngine
from builders.waiting import in_background
from chaos.load import Load
from chaos.recovery import Probe, settled


def test_killed_stages_lose_and_repeat_nothing(engine: FaultEngine) -> None:
    engine.start(*STAGES)
    engine.wait_ready()
    load = Load(engine, random.Random(5), rate=300)
    with in_background(load.send_until):
        for stage in (*STAGES, "engagement"):
            Probe(engine).seconds()
            engine.workers[stage].kill()
            engine.restart(stage)
    Probe(engine).seconds()
    assert settled(engine).examples == []
    decisions = {truth["decision"] for truth in engine.truths().values()}
    assert {"show", "hide"} <= decisions

    assert engine.forget_redis() > 100
    assert settled(engine).examples == []
    assert engine.complaints() == []
