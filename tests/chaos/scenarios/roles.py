"""Judges, rankers and whole workers share eight partitions: settings, kills, pauses, joins."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from builders.engine import STAGES, WORKER, Engine, Worker, go_on, pause
from builders.waiting import in_background
from chaos.recovery import SESSION_S, Probe, under_load
from chaos.scenario import Chaos, Row, Rows

JUDGE, RANKER = "+".join(STAGES[:-1]), STAGES[-1]
PARTITIONS = 8
SETS = {
    "one whole worker": (WORKER,),
    "three whole workers": (WORKER,) * 3,
    "two judges, one ranker": (JUDGE, JUDGE, RANKER),
    "two judges, two rankers": (JUDGE, JUDGE, RANKER, RANKER),
}
ROUNDS = 2
# Of one feed the scores are below 0 by the first of these weights, and above by the second.
FLIPPED = "community:cooking"
LOW = {"quality": 0.5, "engagement": 0.0, "half_life_hours": None}
HIGH = {"quality": 0.0, "engagement": 1e6, "half_life_hours": None}
# That of a post that has no signal of the objective yet.
_LEAST = -40.0


def run(chaos: Chaos) -> Rows:
    names = list(SETS) if chaos.is_long else ["two judges, two rankers"]
    for name in names:
        yield _row(chaos, name, SETS[name], ROUNDS if chaos.is_long else 1)


def _row(chaos: Chaos, name: str, roles: tuple[str, ...], rounds: int) -> Row:
    engine = chaos.engine(partitions=PARTITIONS)
    for number, stages in enumerate(roles):
        engine.start_worker(f"{number}", stages=stages)
    engine.wait_ready()
    faults, reads = _Faults(chaos, engine), _Reads(engine)

    def times() -> Iterator[float]:
        with in_background(reads.read_until):
            yield from faults.rounds(rounds)

    fault = f"{name}: kills, pauses, joins, leaves"
    row = under_load(chaos, engine, fault, times(), undisturbed=chaos.is_long)
    note = f"{reads.count} reads of {FLIPPED} while its weights were flipped"
    return replace(row, failures=tuple(reads.failures), notes=(note,))


class _Faults:
    """Causes faults in turns, each at a worker that is drawn, and settings that are drawn."""

    def __init__(self, chaos: Chaos, engine: Engine) -> None:
        self._drawn, self._engine = chaos.random, engine
        kinds: tuple[Callable[[Worker], Probe], ...] = (self._kill, self._pause)
        if chaos.is_long:
            kinds += (self._leave, self._join, self._outlast)
        self._kinds = kinds
        self._numbers = count(10)

    def rounds(self, number: int) -> Iterator[float]:
        """Cause each fault after a setting; yield how long new posts of all took to be decided."""
        for fault in self._kinds * number:
            time.sleep(self._drawn.uniform(0.2, 1.5))
            offset = self._set()
            yield fault(self._drawn.choice([*self._engine.workers.values()])).seconds()
            self._engine.wait_ready()
            self._engine.wait_applied(offset)

    def _set(self) -> int:
        drawn = self._drawn
        hide_at = drawn.uniform(0.5, 0.95)
        gates = {"spam": {"hide_at": hide_at, "demote_at": hide_at * drawn.random()}}
        self._engine.set("gates", gates)
        self.weights = {"quality": round(drawn.random(), 3), "engagement": round(drawn.random(), 3)}
        limits = {"half_life_hours": drawn.uniform(1, 48), "max_per_author": drawn.randrange(1, 9)}
        return self._engine.set("weights", {**self.weights, **limits})

    def _kill(self, worker: Worker) -> Probe:
        worker.kill()
        probe = Probe(self._engine)
        self._start_again(worker)
        return probe

    def _pause(self, worker: Worker) -> Probe:
        """For less than its session."""
        return self._paused(worker, SESSION_S / 2)

    def _outlast(self, worker: Worker) -> Probe:
        """For longer: others have what it had, where there are others, and it goes on."""
        return self._paused(worker, SESSION_S + 3)

    def _paused(self, worker: Worker, seconds: float) -> Probe:
        pause(worker)
        time.sleep(seconds)
        probe = Probe(self._engine)
        go_on(worker)
        return probe

    def _leave(self, worker: Worker) -> Probe:
        worker.stop()
        probe = Probe(self._engine)
        self._start_again(worker)
        return probe

    def _join(self, worker: Worker) -> Probe:
        """One more of its role comes, and goes once it works."""
        name = f"{next(self._numbers)}"
        joined = self._engine.ready_worker(name, stages=worker.stages)
        Probe(self._engine).seconds()
        self._engine.workers.pop(joined.name).stop()
        return Probe(self._engine)

    def _start_again(self, worker: Worker) -> None:
        self._engine.start_worker(worker.name.removeprefix(worker.stages), stages=worker.stages)


class _Reads:
    """Flips the weights of one feed and reads it: no read may be mixed, short, empty or old."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.count = self._version = 0
        self.failures: list[str] = []

    def read_until(self, stop: threading.Event) -> None:
        """For `in_background`."""
        key, flip_at, is_high = f"weights/{FLIPPED}", 0.0, False
        was_there = False
        while not stop.wait(0.005):
            if time.monotonic() >= flip_at:
                flip_at, is_high = time.monotonic() + 0.5, not is_high
                self._engine.set(key, HIGH if is_high else LOW)
            entries, info = self._engine.feed(FLIPPED)
            was_there = was_there or bool(entries)
            if was_there and len(self.failures) < 5:
                self._judge(entries, info)

    def _judge(self, entries: list[tuple[str, float]], info: dict[str, str]) -> None:
        self.count += 1
        before, self._version = self._version, int(info.get("version", 0))
        if self._version < before:
            self.failures.append(f"version {self._version} behind {before}")
        weights = json.loads(info.get("weights", "{}"))
        if not entries or int(info.get("size", -1)) != len(entries):
            self.failures.append(f"a short read: {len(entries)} of {info.get('size')}")
        elif weights.get("engagement") in (LOW["engagement"], HIGH["engagement"]):
            is_high = weights["engagement"] == HIGH["engagement"]
            known = [score for _, score in entries if score > _LEAST]
            if any((score > 0) != is_high for score in known):
                self.failures.append(f"a mixed read: {known[:3]} by {weights}")
