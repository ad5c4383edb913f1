"""The only broker is killed, and started again with its data."""

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from chaos.scenario import Chaos, Rows
from chaos.server_faults import fault_row, is_stale, keeps_feed
from feedmill.deploy.local import status, up

SHORT_S = (8.0,)
LONG_S = (60.0, 300.0)


def run(chaos: Chaos) -> Rows:
    for seconds in LONG_S if chaos.is_long else SHORT_S:
        address, folder = chaos.own_stack()
        engine = chaos.engine(kafka=address.kafka, redis=address.redis)
        yield fault_row(
            chaos,
            engine,
            f"broker killed and away for {seconds:.0f} s",
            partial(_away, folder),
            seconds=seconds,
            is_of_broker=True,
            compare=chaos.is_long,
            check=partial(is_stale if chaos.is_long else keeps_feed, engine),
        )


@contextlib.contextmanager
def _away(folder: Path) -> Iterator[None]:
    (broker,) = status(folder).kafka_pids
    assert broker is not None
    os.kill(broker, signal.SIGKILL)
    try:
        yield
    finally:
        up(folder)
