"""Workers come and go under load: 1 -> 3 -> 1, and a restart of each in turn."""

from collections.abc import Sequence

from builders.engine import Worker
from builders.fault_engine import ALL_STAGES
from builders.waiting import in_background
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, final_verdict, settled
from chaos.scenario import Chaos, Row, Rows

# The group keeps a member's place for its session timeout: a restart must not take longer.
_PATIENT_S = 30.0
_PATIENT = {"FEEDMILL_SESSION_TIMEOUT_MS": f"{_PATIENT_S * 1000:.0f}"}


def run(chaos: Chaos) -> Rows:
    yield _one_three_one(chaos)
    yield _rolling_restart(chaos)


def _one_three_one(chaos: Chaos) -> Row:
    """Two workers join; the first, which ranks, and another are killed; one is left."""
    rounds = 8 if chaos.is_long else 1
    engine = chaos.engine()
    engine.start(ALL_STAGES, tag="0")
    engine.wait_ready()
    load, slowest, left = Load(engine, chaos.random), 0.0, f"{ALL_STAGES}0"
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for number in range(rounds):
                joined = [f"{ALL_STAGES}{number}{letter}" for letter in "ab"]
                for name in joined:
                    engine.start(ALL_STAGES, tag=name.removeprefix(ALL_STAGES))
                engine.wait_ready(*joined)
                slowest = max(slowest, Probe(engine).seconds())
                staying = chaos.random.choice(joined)
                for name in (left, *(one for one in joined if one != staying)):
                    engine.workers.pop(name).kill()
                    slowest = max(slowest, Probe(engine).seconds())
                left = staying
        verdict = final_verdict(chaos, engine, undisturbed=chaos.is_long)
    return Row(
        fault="1 -> 3 -> 1 workers, two killed one after another",
        rounds=rounds,
        events=load.events,
        verdict=verdict,
        recover_s=slowest,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
    )


def _rolling_restart(chaos: Chaos) -> Row:
    """Static members restart one after another; no partition of the others moves."""
    rounds = 4 if chaos.is_long else 1
    engine = chaos.engine()
    names = ("first", "second", "third")[: 3 if chaos.is_long else 2]
    for name in names:
        engine.start_worker(name, variables=_PATIENT)
    engine.wait_ready()
    load, slowest, moved = Load(engine, chaos.random), 0.0, list[str]()
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            for name in names * rounds:
                worker = engine.workers[f"{ALL_STAGES}{name}"]
                others = [one for one in engine.workers.values() if one is not worker]
                before = _assignments(others), _assignments([worker])[0][-1:]
                worker.stop()
                probe = Probe(engine)
                engine.start_worker(name, variables=_PATIENT)
                slowest = max(slowest, probe.seconds())
                engine.wait_ready()
                if (_assignments(others), _assignments([worker])[0][-1:]) != before:
                    moved.append(f"partitions moved at a restart of {name}")
        verdict = settled(engine)
    return Row(
        fault="rolling restart of static members",
        rounds=rounds * len(names),
        events=load.events,
        verdict=verdict,
        recover_s=slowest,
        recover_bar_s=_PATIENT_S + 5.0,
        peak_mb=memory.mb,
        failures=tuple(moved),
    )


def _assignments(workers: Sequence[Worker]) -> list[list[str]]:
    """What each worker was given, as its log says, from the first time on."""
    return [
        [part.split("\n")[0] for part in worker.log.read_text().split("assigned: ")[1:]]
        for worker in workers
    ]
