"""The only broker is killed, and started again with its data; servers stand still."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from builders.engine import WORKER, changed
from chaos.scenario import Chaos, Row, Rows
from chaos.server_faults import fault_row, is_stale, keeps_feed
from feedmill.deploy.local import status, up

SHORT_S = (8.0,)
LONG_S = (60.0, 300.0)
# The watchdog's time and Kafka's between two polls are 12 s, not 30; the broker stands for longer.
HASTY = (
    "from feedmill.streams.kafka import client",
    "from feedmill.streams.worker.watchdog import Watchdog",
    "client.MAX_POLL_INTERVAL_MS = 12_000",
    "Watchdog.__init__.__defaults__ = (12.0,)",
)
FROZEN_S = 16.0
# What operators are promised: they, and orchestrators, kill what is still there then.
STOP_WITHIN_S = 10.0


def run(chaos: Chaos) -> Rows:
    for seconds in LONG_S if chaos.is_long else SHORT_S:
        address, folder = chaos.own_stack()
        engine = chaos.engine(kafka=address.kafka, redis=address.redis)
        yield fault_row(
            chaos,
            engine,
            f"broker killed and away for {seconds:.0f} s",
            partial(_struck, folder, signal.SIGKILL, partial(_started_again, folder)),
            seconds=seconds,
            is_of_broker=True,
            compare=chaos.is_long,
            check=partial(is_stale if chaos.is_long else keeps_feed, engine),
        )
    yield _frozen_row(chaos)


def _frozen_row(chaos: Chaos) -> Row:
    """The broker stands still; a worker stops in time while either server does."""
    address, folder = chaos.own_stack()
    redis = chaos.own_redis()
    engine = chaos.engine(kafka=address.kafka, redis=redis.url)
    engine.ready_worker(variables=changed(engine.folder, *HASTY))
    frozen = partial(_struck, folder, signal.SIGSTOP, lambda pid: os.kill(pid, signal.SIGCONT))
    name = "broker frozen, and each server at a stop"
    row = fault_row(chaos, engine, name, frozen, seconds=FROZEN_S, is_of_broker=True)
    redis.freeze()
    engine.post("in-hand")
    time.sleep(1.0)
    engine.workers[WORKER].stop(STOP_WITHIN_S)
    redis.go_on()
    engine.ready_worker()
    with frozen():
        time.sleep(1.0)
        engine.workers[WORKER].stop(STOP_WITHIN_S)
    return row


def _started_again(folder: Path, _: int) -> None:
    up(folder)


@contextlib.contextmanager
def _struck(folder: Path, number: int, heal: Callable[[int], object]) -> Iterator[None]:
    """Send the broker a signal, and heal it by its pid."""
    (broker,) = status(folder).kafka_pids
    assert broker is not None
    os.kill(broker, number)
    try:
        yield
    finally:
        heal(broker)
