"""Rounds of kill -9: of workers drawn each time, at a random moment or at a point of the loop."""

from __future__ import annotations

import time
from collections.abc import Sequence

from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.waiting import in_background
from chaos.compaction import compacted_topics, wait_compacted
from chaos.fault_points.sitecustomize import POINTS
from chaos.faults import FaultPoints, wait_ended
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, final_verdict
from chaos.scenario import Chaos, Row


class KillRounds:
    """Kills some of the workers of an engine and starts them again, round after round."""

    def __init__(self, chaos: Chaos, engine: FaultEngine, names: Sequence[str]) -> None:
        self._chaos, self._engine, self._names = chaos, engine, names
        self._points = {name: FaultPoints(engine, name) for name in names}
        self.slowest_s = 0.0

    def start(self, *names: str) -> None:
        for name in names:
            self._engine.start_worker(name, variables=self._points[name].variables)

    def round(self, number: int) -> None:
        """Kill, start again, and measure until new posts of every partition are decided."""
        drawn = self._chaos.random
        time.sleep(drawn.uniform(0.2, 2.0))
        killed = drawn.sample(self._names, drawn.randint(1, len(self._names)))
        workers = [self._engine.workers[f"{ALL_STAGES}{name}"] for name in killed]
        if number % 2:
            self._points[killed[0]].arm("SIGKILL", drawn.choice(_COMMON_POINTS))
            self._points[killed[0]].wait_struck()
            wait_ended(workers.pop(0))
        for worker in workers:
            worker.kill()
        probe = Probe(self._engine)
        self.start(*killed)
        self.slowest_s = max(self.slowest_s, probe.seconds())


# Only the worker that ranks comes to the others.
_COMMON_POINTS = [point for point in POINTS if "Redis" not in point]


def kill_rounds(
    chaos: Chaos, fault: str, names: Sequence[str], rounds: int, *, compacted: bool = False
) -> Row:
    """Kill under load; the row of what came of it.

    With `compacted` Kafka compacts all topics while that happens, and at the end everything is
    made again from what compaction left.
    """
    engine = chaos.engine()
    if compacted:
        engine.compact_at_once(*compacted_topics(engine))
    kills = KillRounds(chaos, engine, names)
    kills.start(*names)
    engine.wait_ready()
    load = Load(engine, chaos.random)
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for number in range(rounds):
                kills.round(number)
        if compacted:
            wait_compacted(engine)
            for worker in engine.workers.values():
                worker.kill()
            engine.forget_redis()
            kills.start(*names)
        verdict = final_verdict(chaos, engine)
    return Row(
        fault=fault,
        rounds=rounds,
        events=load.events,
        verdict=verdict,
        recover_s=kills.slowest_s,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
    )
