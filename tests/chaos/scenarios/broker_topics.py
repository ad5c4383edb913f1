"""A topic is created again, or loses records: no worker goes on until an operator says how.

The operator runs the commands that the worker names in its log.
"""

import time
from collections.abc import Callable
from functools import partial

from builders.engine import WORKER, Engine
from builders.engine_topics import PARTITIONS
from builders.named_commands import (
    create_topics,
    delete_topic,
    reason_of,
    remove_records,
    run_named,
)
from builders.waiting import until
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import Probe, settled
from chaos.scenario import Chaos, Row, Rows

# From the start of the worker, after the commands, until new posts are decided.
RECOVERY_BAR_S = 20.0
_TOLD_WITHIN_S = 10.0


def run(chaos: Chaos) -> Rows:
    row = partial(_row, chaos)
    # More records than before: no offset is out of range.
    yield row("`posts` created again, with more records", partial(recreate, "posts", 6000))
    yield _removed_row(chaos)
    if not chaos.is_long:
        return
    yield row("`posts` created again, with fewer records", partial(recreate, "posts", 100))
    yield row("`engagements` created again", partial(recreate, "engagements", 1000))
    yield row("`signals.spam` created again", partial(recreate, "signals.spam", 100))
    yield row("`counters` created again", partial(recreate, "counters", 100))


def _row(chaos: Chaos, name: str, fault: Callable[[Engine, Load], None]) -> Row:
    engine = chaos.engine()
    engine.ready_worker()
    load = Load(engine, chaos.random)
    load.send_some(3000)
    engine.producer.flush(60)
    Probe(engine).seconds()
    failures = []
    with peak_memory(engine) as memory:
        fault(engine, load)
        worker, start = engine.workers[WORKER], time.monotonic()
        reason = until(lambda: reason_of(engine, WORKER, "was deleted and created again"), 60)
        told_s = time.monotonic() - start
        if told_s > _TOLD_WITHIN_S:
            failures.append(f"told after {told_s:.0f} s")
        until(lambda: not engine.says_ready(worker))
        worker.stop()
        run_named(engine, reason)
        # The group reads bad records again, and writes their dead letters again.
        letters = len(engine.read_all("dead-letters"))
        # What Redis holds of former posts stays until it expires, and would count as wrong.
        engine.forget_redis()
        engine.start_worker()
        recover_s = Probe(engine).seconds()
        verdict = settled(engine, letters_before=letters)
        until(lambda: engine.says_ready(engine.workers[WORKER]))
    return Row(
        fault=name,
        events=load.events,
        verdict=verdict,
        recover_s=recover_s,
        recover_bar_s=RECOVERY_BAR_S,
        peak_mb=memory.mb,
        failures=tuple(failures),
    )


def recreate(name: str, events: int, engine: Engine, load: Load) -> None:
    """Delete a topic, create it again, and send so many events."""
    delete_topic(engine, name)
    create_topics(engine)
    load.send_some(events)
    engine.producer.flush(60)


def _removed_row(chaos: Chaos) -> Row:
    """Retention removes engagements while no worker runs: committed offsets are out of range."""
    engine = chaos.engine()
    worker = engine.ready_worker()
    load = Load(engine, chaos.random)
    load.send_some(3000)
    engine.producer.flush(60)
    settled(engine)
    with peak_memory(engine) as memory:
        worker.stop()
        counted = engine.read_all("engagements")
        load.send_some(1000)
        engine.producer.flush(60)
        remove_records(engine, "engagements")
        worker = engine.start_worker()
        reasons = until(lambda: _out_of_range(engine), 60)
        failures = ["the worker says that it is ready"] if engine.says_ready(worker) else []
        worker.stop()
        for reason in reasons:
            run_named(engine, reason)
        engine.start_worker()
        recover_s = Probe(engine).seconds()
        # Another load repeats no event that is gone.
        more = Load(engine, chaos.random)
        more.send_some(1000)
        engine.producer.flush(60)
        verdict = settled(engine, counted=counted)
    return Row(
        fault="`engagements` removed before they were read",
        events=load.events + more.events,
        verdict=verdict,
        recover_s=recover_s,
        recover_bar_s=RECOVERY_BAR_S,
        peak_mb=memory.mb,
        failures=tuple(failures),
    )


def _out_of_range(engine: Engine) -> list[str]:
    """What the worker says of each partition; empty before it has said something of all."""
    lines = engine.workers[WORKER].log.read_text().splitlines()
    found = [line for line in lines if "is out of range" in line]
    return found if len(found) == PARTITIONS else []
