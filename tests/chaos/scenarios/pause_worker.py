"""A worker stands for longer than its session timeout, at every point of its loop, and goes on."""

import time
from collections.abc import Iterator

from builders.engine import WORKER, go_on
from builders.waiting import until
from chaos.fault_points.sitecustomize import POINTS
from chaos.kill_rounds import FaultPoints
from chaos.recovery import Probe, under_load
from chaos.scenario import Chaos, Rows

# By its name the first has partition 0, and half of the shards, whenever it is there.
PAUSED, OTHER = "first", "second"
# It has a transaction open, and a batch for Redis in hand.
SHORT = ("before commit", "before write to Redis")


def run(chaos: Chaos) -> Rows:
    engine = chaos.engine()
    points = FaultPoints(engine, PAUSED)
    engine.start_worker(PAUSED, variables=points.variables)
    engine.start_worker(OTHER)
    engine.wait_ready()
    name = "SIGSTOP beyond the session, then SIGCONT, at each point"
    yield under_load(chaos, engine, name, _pauses(chaos, points), undisturbed=chaos.is_long)


def _pauses(chaos: Chaos, points: FaultPoints) -> Iterator[float]:
    everywhere = [point for point in POINTS if not point.endswith("assignment")]
    for point in everywhere if chaos.is_long else SHORT:
        time.sleep(chaos.random.uniform(0.0, 1.0))
        yield pause_at(points, point)


def pause_at(points: FaultPoints, point: str) -> float:
    """Pause at a point until the other worker serves all; how long that took."""
    engine = points.engine
    worker = engine.workers[f"{WORKER}{PAUSED}"]
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
