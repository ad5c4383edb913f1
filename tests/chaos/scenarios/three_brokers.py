"""One of three brokers is killed, another one in each round: the engine goes on without it."""

import contextlib
import math
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

# What the engine adds to the pause of Kafka itself, which elects other leaders, and perhaps another
# controller: the session of a broker is 4 s.
PAUSE_BAR_S = 10.0


def run(chaos: Chaos) -> Rows:
    rounds = 6 if chaos.is_long else 1
    address, folder = chaos.own_stack(brokers=3)
    engine = chaos.engine(kafka=address.kafka, redis=address.redis)
    brokers = cycle(range(3))
    of_kafka: list[float] = []
    of_engine: list[float] = []

    @contextlib.contextmanager
    def killed() -> Iterator[None]:
        with _one_killed(folder, next(brokers)):
            start = time.monotonic()
            probe = Probe(engine)
            of_kafka.append(time.monotonic() - start)
            of_engine.append(probe.seconds() - of_kafka[-1])
            yield

    row = fault_row(
        chaos,
        engine,
        "one of three brokers killed: then until posts are ranked",
        killed,
        seconds=1.0,
        rounds=rounds,
        compare=chaos.is_long,
        is_told=False,
    )
    yield replace(
        row,
        fault="one of three brokers killed: until Kafka takes posts",
        recover_s=max(of_kafka),
        recover_bar_s=math.inf,
    )
    yield replace(row, recover_s=max(of_engine), recover_bar_s=PAUSE_BAR_S)


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
