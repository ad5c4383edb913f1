"""Kill -9 of the only worker at random moments under load, and start it again."""

from __future__ import annotations

import time

from builders.waiting import in_background
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, against_undisturbed, settled
from chaos.scenario import Chaos, Row, Rows

NAME = "killed"


def run(chaos: Chaos) -> Rows:
    rounds = 25 if chaos.is_long else 3
    engine = chaos.engine()
    engine.ready_worker(NAME)
    load, slowest = Load(engine, chaos.random), 0.0
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for _ in range(rounds):
                time.sleep(chaos.random.uniform(0.2, 2.0))
                worker = engine.workers[f"worker{NAME}"]
                worker.kill()
                probe = Probe(engine)
                engine.start_worker(NAME)
                slowest = max(slowest, probe.seconds())
        verdict = settled(engine)
        for worker in engine.workers.values():
            worker.stop()
        calm = chaos.engine()
        calm.ready_worker()
        verdict += against_undisturbed(engine, calm)
    yield Row(
        fault="kill -9 of the only worker",
        rounds=rounds,
        events=load.events,
        verdict=verdict,
        recover_s=slowest,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
    )
