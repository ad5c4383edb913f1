"""Workers come and go under load: 1 -> 3 -> 1, 2 -> 4 -> 2, and each in turn, stopped or killed."""

import signal
from collections.abc import Iterator, Sequence

from builders.engine import WORKER, Engine, Worker
from chaos.kill_rounds import FaultPoints
from chaos.recovery import Probe, under_load
from chaos.scenario import Chaos, Row, Rows

# The group keeps the place of a killed member for its session timeout; a member that is stopped
# leaves the group long before.
_PATIENT_S = 30.0
# A post that comes after the stop is decided within so long.
_HAND_OVER_BAR_S = 3.0
_PATIENT = {"FEEDMILL_SESSION_TIMEOUT_MS": f"{_PATIENT_S * 1000:.0f}"}


def run(chaos: Chaos) -> Rows:
    yield _one_three_one(chaos)
    yield _two_four_two(chaos)
    yield _each_replaced(chaos)
    yield _each_killed(chaos)
    yield _killed_between_close_and_leave(chaos)


def _one_three_one(chaos: Chaos) -> Row:
    """Two workers join; the first and another are killed; one is left."""
    engine = chaos.engine()
    engine.start(WORKER, tag="0")
    engine.wait_ready()

    def joins_and_kills() -> Iterator[float]:
        left = f"{WORKER}0"
        for number in range(8 if chaos.is_long else 1):
            joined = [f"{WORKER}{number}{letter}" for letter in "ab"]
            for name in joined:
                engine.start(WORKER, tag=name.removeprefix(WORKER))
            engine.wait_ready(*joined)
            yield Probe(engine).seconds()
            staying = chaos.random.choice(joined)
            for name in (left, *(one for one in joined if one != staying)):
                engine.workers.pop(name).kill()
                yield Probe(engine).seconds()
            left = staying

    name = "1 -> 3 -> 1 workers, two killed one after another"
    return under_load(chaos, engine, name, joins_and_kills(), undisturbed=chaos.is_long)


def _two_four_two(chaos: Chaos) -> Row:
    """Two static members join two others, and are stopped at the same moment."""
    engine = chaos.engine()
    names = [f"{WORKER}-{number}" for number in range(4)]

    def joins_and_stops() -> Iterator[float]:
        for _ in range(4 if chaos.is_long else 1):
            for name in names[2:]:
                engine.start_worker(name, variables=_PATIENT)
            engine.wait_ready()
            yield Probe(engine).seconds()
            stopped = [engine.workers.pop(f"{WORKER}{name}") for name in names[2:]]
            for worker in stopped:
                worker.process.send_signal(signal.SIGTERM)
            for worker in stopped:
                worker.process.wait(60.0)
            yield Probe(engine).seconds()

    for name in names[:2]:
        engine.start_worker(name, variables=_PATIENT)
    engine.wait_ready()
    name = "2 -> 4 -> 2 static members, two stopped at once"
    return under_load(chaos, engine, name, joins_and_stops(), bar_s=_HAND_OVER_BAR_S)


def _static_members(chaos: Chaos) -> tuple[Engine, Sequence[str]]:
    engine, names = chaos.engine(), ("first", "second", "third")[: 3 if chaos.is_long else 2]
    for name in names:
        engine.start_worker(name, variables=_PATIENT)
    engine.wait_ready()
    return engine, names * (4 if chaos.is_long else 1)


def _each_replaced(chaos: Chaos) -> Row:
    """Static members stop one after another and come back: the others have their partitions."""
    engine, names = _static_members(chaos)

    def replacements() -> Iterator[float]:
        for name in names:
            engine.workers[f"{WORKER}{name}"].stop()
            yield Probe(engine).seconds()
            engine.start_worker(name, variables=_PATIENT)
            engine.wait_ready()
            yield Probe(engine).seconds()

    fault = "static members stopped and started one by one"
    return under_load(chaos, engine, fault, replacements(), bar_s=_HAND_OVER_BAR_S)


def _each_killed(chaos: Chaos) -> Row:
    """Static members are killed and come back within their session: no partition moves."""
    moved = list[str]()
    engine, names = _static_members(chaos)
    restarts = _restarts(engine, names, moved)
    fault, bar_s = "kill -9 of static members, back within the session", _PATIENT_S + 5.0
    return under_load(chaos, engine, fault, restarts, bar_s=bar_s, failures=moved)


def _restarts(engine: Engine, names: Sequence[str], moved: list[str]) -> Iterator[float]:
    for name in names:
        worker = engine.workers[f"{WORKER}{name}"]
        others = [one for one in engine.workers.values() if one is not worker]
        before = _assignments(others), _assignments([worker])[0][-1:]
        worker.kill()
        probe = Probe(engine)
        engine.start_worker(name, variables=_PATIENT)
        yield probe.seconds()
        engine.wait_ready()
        if (_assignments(others), _assignments([worker])[0][-1:]) != before:
            moved.append(f"partitions moved when {name} was killed and came back")


def _killed_between_close_and_leave(chaos: Chaos) -> Row:
    """A static member is killed as it leaves: its session ends, and the other one goes on."""
    engine = chaos.engine()
    points = FaultPoints(engine, "second")
    engine.start_worker("first")
    second = engine.start_worker("second", variables=points.variables)
    engine.wait_ready()

    def deaths() -> Iterator[float]:
        for _ in range(3 if chaos.is_long else 1):
            points.arm("SIGKILL", "before leave")
            engine.workers[second.name].process.send_signal(signal.SIGTERM)
            points.wait_struck()
            yield Probe(engine).seconds()
            engine.workers[second.name].process.wait(60.0)
            engine.restart(second.name)
            engine.wait_ready()

    return under_load(chaos, engine, "kill -9 of a static member that closed", deaths())


def _assignments(workers: Sequence[Worker]) -> list[list[str]]:
    """What each worker was given, as its log says, from the first time on."""
    return [
        [part.split("\n")[0] for part in worker.log.read_text().split("assigned: ")[1:]]
        for worker in workers
    ]
