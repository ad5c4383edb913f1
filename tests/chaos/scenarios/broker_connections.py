"""The way to the broker is cut again and again, slow, or silent: the broker itself goes on."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from functools import partial

from builders.proxied_kafka import ProxiedKafka
from builders.tcp_proxy import TcpProxy
from builders.waiting import in_background
from chaos.scenario import Chaos, Rows
from chaos.server_faults import fault_row, keeps_feed

# Each chunk of 64 KiB takes so long, in each direction.
SLOW_S = 0.25


def run(chaos: Chaos) -> Rows:
    if not chaos.is_long:
        return
    kafka = ProxiedKafka(chaos.folder("kafka"))
    chaos.at_end(kafka.close)
    engine = chaos.engine(kafka=kafka.direct)
    engine.variables["FEEDMILL_KAFKA"] = kafka.proxied
    row = partial(fault_row, chaos, engine, check=partial(keeps_feed, engine))
    yield row(
        "connections to the broker cut every 0.2 to 2 s",
        partial(_cut, kafka.proxy, chaos.random),
        seconds=60,
        is_told=False,
    )
    yield row(
        f"broker slow, {2 * SLOW_S:.1f} s a request",
        partial(_slow, kafka.proxy),
        seconds=60,
        is_told=False,
    )
    yield row(
        "broker silent for 45 s, its connections open",
        partial(_silent, kafka.proxy),
        seconds=45,
        compare=True,
    )


@contextlib.contextmanager
def _cut(proxy: TcpProxy, drawn: random.Random) -> Iterator[None]:
    def cut_until(stop: threading.Event) -> None:
        while not stop.wait(drawn.uniform(0.2, 2.0)):
            proxy.cut()

    with in_background(cut_until):
        yield


@contextlib.contextmanager
def _slow(proxy: TcpProxy) -> Iterator[None]:
    proxy.delay_s = SLOW_S
    yield
    proxy.delay_s = 0.0


@contextlib.contextmanager
def _silent(proxy: TcpProxy) -> Iterator[None]:
    proxy.hold()
    yield
    proxy.flow()
