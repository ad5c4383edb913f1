"""Rounds of kill -9: of workers drawn each time, at a random moment or at a point of the loop."""

import time
from collections.abc import Sequence

from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.waiting import in_background
from chaos.compaction import compacted_topics, wait_compacted
from chaos.fault_points.sitecustomize import COMMON_POINTS
from chaos.faults import FaultPoints, wait_ended
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, final_verdict
from chaos.scenario import Chaos, Row

# A worker that has partitions comes to them while it starts.
_STARTING_POINTS = ("before assignment", "after assignment", *COMMON_POINTS)


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
        """Kill, start again, and measure until new posts of every partition are decided.

        In turn: at a random moment, at a point of the loop, and once more while a worker starts.
        """
        drawn = self._chaos.random
        time.sleep(drawn.uniform(0.2, 2.0))
        killed = drawn.sample(self._names, drawn.randint(1, len(self._names)))
        if number % 3 == 1:
            self._points[killed[0]].arm("SIGKILL", drawn.choice(COMMON_POINTS))
            self._wait_killed(killed[0])
        for name in killed:
            self._engine.workers[f"{ALL_STAGES}{name}"].kill()
        if number % 3 == 2:
            self._points[killed[0]].arm("SIGKILL", drawn.choice(_STARTING_POINTS))
            self.start(killed[0])
            self._wait_killed(killed[0])
        probe = Probe(self._engine)
        self.start(*killed)
        self.slowest_s = max(self.slowest_s, probe.seconds())

    def _wait_killed(self, name: str) -> None:
        self._points[name].wait_struck()
        wait_ended(self._engine.workers[f"{ALL_STAGES}{name}"])


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
