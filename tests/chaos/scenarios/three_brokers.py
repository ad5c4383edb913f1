"""One of three brokers is killed, another one in each round: the engine goes on without it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from chaos.recovery import Probe
from chaos.scenario import Chaos, Rows
from chaos.server_faults import fault_row
from feedmill.deploy.local import status, up

# A broker's session is 4 s; the partitions that it led have another leader after that.
PAUSE_BAR_S = 15.0


def run(chaos: Chaos) -> Rows:
    rounds = 6 if chaos.is_long else 1
    address, folder = chaos.own_stack(brokers=3)
    engine = chaos.engine(kafka=address.kafka, redis=address.redis)
    brokers = cycle(range(3))
    pauses: list[float] = []

    @contextlib.contextmanager
    def killed() -> Iterator[None]:
        with _one_killed(folder, next(brokers)):
            pauses.append(Probe(engine).seconds())
            yield

    row = fault_row(
        chaos,
        engine,
        "one of three brokers killed: the pause until new posts are ranked",
        killed,
        seconds=1.0,
        rounds=rounds,
        compare=chaos.is_long,
        is_told=False,
    )
    yield replace(row, recover_s=max(pauses), recover_bar_s=PAUSE_BAR_S)


@contextlib.contextmanager
def _one_killed(folder: Path, number: int) -> Iterator[None]:
    broker = status(folder).kafka_pids[number]
    assert broker is not None
    os.kill(broker, signal.SIGKILL)
    try:
        yield
    finally:
        up(folder)
        # Its replicas are in sync again, or the next one killed would leave one alone.
        time.sleep(5.0)
