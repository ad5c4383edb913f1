"""A worker stands for longer than its session timeout, at every point of its loop, and goes on.

In the long form alone: the tests of `tests/e2e/faults/test_paused_owners.py` run anyway.
"""

import time

from builders.fault_engine import ALL_STAGES, FaultEngine, go_on
from builders.waiting import in_background, until
from chaos.fault_points.sitecustomize import POINTS
from chaos.kill_rounds import FaultPoints
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, final_verdict
from chaos.scenario import Chaos, Row, Rows

# By its name the first has partition 0, and with it the ranking, whenever it is there.
PAUSED, OTHER = "first", "second"


def run(chaos: Chaos) -> Rows:
    if not chaos.is_long:
        return
    engine = chaos.engine()
    points = FaultPoints(engine, PAUSED)
    engine.start_worker(PAUSED, variables=points.variables)
    engine.start_worker(OTHER)
    engine.wait_ready()
    load, slowest = Load(engine, chaos.random), 0.0
    chosen = [point for point in POINTS if not point.endswith("assignment")]
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for point in chosen:
                time.sleep(chaos.random.uniform(0.0, 1.0))
                slowest = max(slowest, pause_at(engine, points, point))
        verdict = final_verdict(chaos, engine)
    yield Row(
        fault="SIGSTOP beyond the session, then SIGCONT, at each point",
        rounds=len(chosen),
        events=load.events,
        verdict=verdict,
        recover_s=slowest,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
    )


def pause_at(engine: FaultEngine, points: FaultPoints, point: str) -> float:
    """Pause at a point until the other worker serves all; how long that took."""
    worker = engine.workers[f"{ALL_STAGES}{PAUSED}"]
    assignments = worker.log.read_text().count("assigned: ")
    points.arm("SIGSTOP", point)
    points.wait_struck()
    seconds = Probe(engine).seconds()
    go_on(worker)
    # Its lost partitions, then its old ones again.
    until(lambda: worker.log.read_text().count("assigned: ") > assignments, 60)
    until(lambda: _owns_the_first(worker.log.read_text()), 60)
    Probe(engine).seconds()
    return seconds


def _owns_the_first(log: str) -> bool:
    return log.rpartition("assigned: ")[2].startswith("(0,")
