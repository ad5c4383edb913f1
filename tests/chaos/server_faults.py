"""A fault of Kafka or Redis below a running engine, and the row of what came of it."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from builders.engine import WORKER, Engine, Worker
from builders.waiting import in_background, now_ms, until
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import Probe, against_undisturbed, settled
from chaos.scenario import Chaos, Row

# From when a server is back until new posts are decided in Redis.
RECOVERY_BAR_S = 15.0
_RATE = 300
# How long the load goes on into an outage of the broker: its client keeps what it cannot send.
_INTO_OUTAGE_S = 2.0

Fault = Callable[[], AbstractContextManager[object]]
Check = Callable[[], list[str]]


class SteadyLoad:
    """Events in the background, except while it is `paused`."""

    def __init__(self, engine: Engine, chaos: Chaos) -> None:
        self._load = Load(engine, chaos.random)
        self.paused = threading.Event()
        for topic in ("posts", "engagements", "overrides"):
            # The client asks for it before the first record, and could not while Kafka is away.
            engine.producer.partitions_for(engine.topic(topic))

    @property
    def events(self) -> int:
        return self._load.events

    def send_until(self, stop: threading.Event) -> None:
        """For `in_background`."""
        while not stop.wait(10 / _RATE):
            if not self.paused.is_set():
                self._load.send_some(10)


def fault_row(
    chaos: Chaos,
    engine: Engine,
    name: str,
    fault: Fault,
    *,
    seconds: float,
    rounds: int = 1,
    is_of_broker: bool = False,
    is_told: bool = True,
    check: Check | None = None,
    compare: bool = False,
) -> Row:
    """Cause a fault under load, for some seconds; no process may end.

    With `is_told` the worker must say that it is not ready. `check` returns what does not hold at
    the end of the fault, before it heals. With `compare` the worker is stopped in the end, and the
    feeds are compared with those of an undisturbed run.
    """
    worker = engine.workers.get(WORKER) or engine.ready_worker()
    load, slowest, failures = SteadyLoad(engine, chaos), 0.0, list[str]()
    with peak_memory(engine) as memory:
        with in_background(load.send_until):
            Probe(engine).seconds()
            for _ in range(rounds):
                with fault():
                    failures += during(worker, seconds, load if is_of_broker else None)
                    if is_told and engine.says_ready(worker):
                        failures.append("the worker says that it is ready")
                    failures += check() if check is not None else []
                if is_of_broker:
                    engine.renew_producer()
                load.paused.clear()
                slowest = max(slowest, Probe(engine).seconds())
        engine.producer.flush(60)
        verdict = settled(engine)
        until(lambda: engine.says_ready(worker))
        if compare:
            worker.stop()
            calm = chaos.engine()
            calm.ready_worker()
            verdict += against_undisturbed(engine, calm)
    return Row(
        fault=name,
        rounds=rounds,
        events=load.events,
        verdict=verdict,
        recover_s=slowest,
        recover_bar_s=RECOVERY_BAR_S,
        peak_mb=memory.mb,
        failures=tuple(failures),
    )


def during(worker: Worker, seconds: float, load: SteadyLoad | None = None) -> list[str]:
    """Wait until a fault has lasted so long, and say if the worker ended meanwhile.

    The load is paused where Kafka is what is away.
    """
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        if load is not None and passed > _INTO_OUTAGE_S:
            load.paused.set()
        if worker.process.poll() is not None:
            return [f"the worker ended with {worker.process.returncode}"]
        time.sleep(0.1)
    return []


def keeps_feed(engine: Engine) -> list[str]:
    """Say that readers do not see the last feed any more."""
    return [] if engine.order() else ["the last feed is gone"]


def is_stale(engine: Engine) -> list[str]:
    """Say that the feed claims to be fresh: for 30 s after the last heartbeat that came."""
    is_fresh = int(engine.feed()[1].get("fresh_until_ms", 0)) > now_ms()
    return ["the feed claims to be fresh"] if is_fresh else []
