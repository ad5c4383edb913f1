"""Workers come and go under load: 1 -> 3 -> 1, and a restart of each in turn."""

from collections.abc import Iterator, Sequence

from builders.engine import WORKER, Engine, Worker
from chaos.recovery import Probe, under_load
from chaos.scenario import Chaos, Row, Rows

# The group keeps a member's place for its session timeout: a restart must not take longer.
_PATIENT_S = 30.0
_PATIENT = {"FEEDMILL_SESSION_TIMEOUT_MS": f"{_PATIENT_S * 1000:.0f}"}


def run(chaos: Chaos) -> Rows:
    yield _one_three_one(chaos)
    yield _rolling_restart(chaos)


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


def _rolling_restart(chaos: Chaos) -> Row:
    """Static members restart one after another; no partition of the others moves."""
    engine, moved = chaos.engine(), list[str]()
    names = ("first", "second", "third")[: 3 if chaos.is_long else 2]
    for name in names:
        engine.start_worker(name, variables=_PATIENT)
    engine.wait_ready()
    restarts = _restarts(engine, names * (4 if chaos.is_long else 1), moved)
    fault, bar_s = "rolling restart of static members", _PATIENT_S + 5.0
    return under_load(chaos, engine, fault, restarts, bar_s=bar_s, failures=moved)


def _restarts(engine: Engine, names: Sequence[str], moved: list[str]) -> Iterator[float]:
    for name in names:
        worker = engine.workers[f"{WORKER}{name}"]
        others = [one for one in engine.workers.values() if one is not worker]
        before = _assignments(others), _assignments([worker])[0][-1:]
        worker.stop()
        probe = Probe(engine)
        engine.start_worker(name, variables=_PATIENT)
        yield probe.seconds()
        engine.wait_ready()
        if (_assignments(others), _assignments([worker])[0][-1:]) != before:
            moved.append(f"partitions moved at a restart of {name}")


def _assignments(workers: Sequence[Worker]) -> list[list[str]]:
    """What each worker was given, as its log says, from the first time on."""
    return [
        [part.split("\n")[0] for part in worker.log.read_text().split("assigned: ")[1:]]
        for worker in workers
    ]
