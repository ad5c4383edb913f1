"""How soon an engine works again, and whether it comes to what it must."""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from builders.engine import Engine
from builders.engine_topics import Record, id_in, post_of
from builders.waiting import in_background
from chaos.event_log import expected_of, found_of
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.scenario import Chaos, Row
from chaos.verdict import Verdict, differences, judge

SESSION_S = 6.0
# A dead worker's work is served again within its session timeout and so much, or once Kafka has
# aborted the transaction that it left open: of 5 s, for which the tests' broker looks every 6 s.
TAKEOVER_BAR_S = SESSION_S + 6.0
# A busy machine takes longer, and is no failure: what it took stands in the row.
_WITHIN_S = 240.0


class Probe:
    """New posts, one of each partition: an engine that works shows them all in its feed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._start = time.monotonic()
        self._ids = _ids_of_each_partition(engine.partitions)
        engine.posts(post_of(post_id, f"An evening walk, {post_id}") for post_id in self._ids)

    def seconds(self, within_s: float = _WITHIN_S) -> float:
        """Wait until all are decided in Redis; how long it took from their making."""
        self._engine.wait_decided(self._ids, within_s)
        return time.monotonic() - self._start


def _ids_of_each_partition(partitions: int) -> list[str]:
    start = f"probe-{uuid.uuid4().hex[:8]}"
    return [id_in(partition, start, partitions) for partition in range(partitions)]


def settled(engine: Engine, counted: Sequence[Record] = (), letters_before: int = 0) -> Verdict:
    """Wait until nothing is wrong any more; what still is at the end, where that never comes.

    Nobody sends anything meanwhile.  See `expected_of` and `found_of` for the arguments.
    """
    expected = expected_of(engine, counted)
    end = time.monotonic() + _WITHIN_S
    while not (verdict := judge(expected, found_of(engine, expected, letters_before))).is_clean:
        if time.monotonic() > end:
            break
        time.sleep(1.0)
    return verdict


def final_verdict(chaos: Chaos, engine: Engine, *, undisturbed: bool = True) -> Verdict:
    """Wait for the end of all work, then judge by the log and against an undisturbed run."""
    verdict = settled(engine)
    if not undisturbed:
        return verdict
    for worker in engine.workers.values():
        if worker.process.poll() is None:
            worker.stop()
    calm = chaos.engine(partitions=engine.partitions)
    calm.ready_worker()
    return verdict + against_undisturbed(engine, calm)


def against_undisturbed(engine: Engine, calm: Engine) -> Verdict:
    """Compare all feeds with those of another engine that reads the same log without a fault.

    `calm` has a worker and empty topics.
    """
    for topic in ("config", "overrides", "posts", "engagements"):
        for record in engine.read_all(topic):
            calm.send(topic, record.key, record.value, partition=record.partition)
    calm.producer.flush(60)
    calm_verdict = settled(calm)
    if not calm_verdict.is_clean:
        raise AssertionError(f"the undisturbed run is wrong: {calm_verdict}")
    verdict = Verdict()
    for name, (entries, _) in found_of(calm, expected_of(calm)).feeds.items():
        wrong = differences(entries, engine.feed(name)[0])
        verdict.add("wrong_order", wrong, f"feed {name} against an undisturbed run")
    return verdict


def under_load(
    chaos: Chaos,
    engine: Engine,
    fault: str,
    faults: Iterable[float],
    *,
    bar_s: float = TAKEOVER_BAR_S,
    undisturbed: bool = False,
    failures: Sequence[str] = (),
    afterwards: Callable[[], object] = lambda: None,
) -> Row:
    """Cause faults under load; the row of what came of them.

    `faults` causes one after another and yields how long each took to recover from.  `failures`
    are read at the end, after what is to be done `afterwards`, when the load has stopped.
    """
    load, times = Load(engine, chaos.random), list[float]()
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            times += faults
        afterwards()
        verdict = final_verdict(chaos, engine, undisturbed=undisturbed)
    return Row(
        fault=fault,
        rounds=len(times),
        events=load.events,
        verdict=verdict,
        recover_s=max(times),
        recover_bar_s=bar_s,
        peak_mb=memory.mb,
        failures=tuple(failures),
    )
