"""A worker that is killed while its transaction is open: counts are exact afterwards."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.recovery import counted, send, settle, workload
from builders.waiting import in_background, now_ms, until

KILLS = 3
# Slow enough to catch a transaction that stays open, which may take several pauses.
RATE = 60
AT_ONCE = 10


def send_slowly(engine: FaultEngine, part: Sequence[Any], told: threading.Event) -> None:
    """Send a part at `RATE` until told, then the rest of it at once."""
    for first in range(0, len(part), AT_ONCE):
        send(engine, list(part[first : first + AT_ONCE]))
        told.wait(AT_ONCE / RATE)


def test_counts_are_exact_and_nothing_of_the_open_transaction_is_read(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    engine.ready_worker()
    work = workload(now_ms() - 90_000_000, posts=250, engagements=2000)
    share = len(work.records) // KILLS + 1
    for n in range(KILLS):
        engine.wait_ready()
        worker = engine.workers[ALL_STAGES]
        part = work.records[n * share : (n + 1) * share]
        with in_background(partial(send_slowly, engine, part)):
            engine.pause_in_transaction(worker, "counters")
            worker.kill()
            # Now, not once all is sent: the broker aborts it after five seconds.
            assert engine.open_transactions("counters")
        engine.restart(ALL_STAGES)
        # The next process by this name ends the transaction at once.
        until(lambda: not engine.open_transactions("counters"))
    settle(engine, work)
    assert counted(engine) == work.counts
