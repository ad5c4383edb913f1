"""Rounds of kill -9: of workers drawn each time, at a random moment or at a point of the loop."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from builders.contract_score import BASES
from builders.engine import WORKER, Engine
from builders.engine_topics import PARTITIONS
from builders.waiting import until
from chaos.fault_points.sitecustomize import COMMON_POINTS
from chaos.recovery import Probe, under_load
from chaos.scenario import Chaos, Row

# A worker that has partitions comes to them while it starts.
_STARTING_POINTS = ("before assignment", "after assignment", *COMMON_POINTS)
_FOLDER = Path(__file__).parent / "fault_points"
_SEGMENT_S = 1.0
# A segment that is open, and one that the cleaner has not reached.
_LEFT = 20 * PARTITIONS


class FaultPoints:
    """The fault points of one worker; start it with `variables`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self._file = engine.folder / f"fault-of-{name}"
        self.variables = {"PYTHONPATH": str(_FOLDER), "CHAOS_FAULT": str(self._file)}

    def arm(self, signal_name: str, point: str) -> None:
        """Have the worker send itself the signal where it comes to the point next."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{signal_name} {point}", "utf-8")
        new.replace(self._file)

    def wait_struck(self, seconds: float = 30.0) -> None:
        """Wait until it has come there."""
        until(lambda: not self._file.exists(), seconds, every=0.01)


class Kills:
    """Kills some of the workers of an engine and starts them again, round after round."""

    def __init__(self, chaos: Chaos, engine: Engine, names: Sequence[str]) -> None:
        self._drawn, self._engine, self._names = chaos.random, engine, names
        self._points = {name: FaultPoints(engine, name) for name in names}

    def start(self, *names: str) -> None:
        for name in names:
            self._engine.start_worker(name, variables=self._points[name].variables)

    def rounds(self, count: int) -> Iterator[float]:
        """Kill, start again, and yield how long it took until all partitions are served.

        In turn: at a random moment, at a point of the loop, and once more while a worker starts.
        """
        drawn = self._drawn
        for number in range(count):
            time.sleep(drawn.uniform(0.2, 2.0))
            killed = drawn.sample(self._names, drawn.randint(1, len(self._names)))
            if number % 3 == 1:
                self._points[killed[0]].arm("SIGKILL", drawn.choice(COMMON_POINTS))
                self._wait_killed(killed[0])
            for name in killed:
                self._engine.workers[f"{WORKER}{name}"].kill()
            if number % 3 == 2:
                self._points[killed[0]].arm("SIGKILL", drawn.choice(_STARTING_POINTS))
                self.start(killed[0])
                self._wait_killed(killed[0])
            probe = Probe(self._engine)
            self.start(*killed)
            yield probe.seconds()

    def _wait_killed(self, name: str) -> None:
        self._points[name].wait_struck()
        killed = self._engine.workers[f"{WORKER}{name}"]
        until(lambda: killed.process.poll() is not None)


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
    kills = Kills(chaos, engine, names)
    kills.start(*names)
    engine.wait_ready()

    def make_again() -> None:
        if compacted:
            wait_compacted(engine)
            for worker in engine.workers.values():
                worker.kill()
            engine.forget_redis()
            kills.start(*names)

    times = kills.rounds(rounds)
    return under_load(chaos, engine, fault, times, undisturbed=True, afterwards=make_again)


def compacted_topics(engine: Engine) -> list[str]:
    """The topics whose last record of each key is the state."""
    return [
        "posts",
        "counters",
        # Of rates a new post has no record, which would end a segment.
        *(f"signals.{name}" for name in engine.written if name not in BASES),
    ]


def wait_compacted(engine: Engine) -> None:
    """Wait until of each key little more than its last record is left."""

    def is_compacted() -> bool:
        # A segment ends with the first record after its time.
        Probe(engine).seconds()
        time.sleep(_SEGMENT_S)
        return all(_is_compacted(engine, topic) for topic in compacted_topics(engine))

    until(is_compacted, 60)


def _is_compacted(engine: Engine, topic: str) -> bool:
    keys = [record.key for record in engine.read_all(topic)]
    return len(keys) <= len(set(keys)) + _LEFT
