"""The way to the broker is cut again and again, slow, or silent: the broker itself goes on."""

import contextlib
import random
import threading
from collections.abc import Iterator
from functools import partial

from builders.engine import WORKER, Engine
from builders.proxied_kafka import ProxiedKafka
from builders.tcp_proxy import TcpProxy
from builders.waiting import in_background, until
from chaos.peak_memory import peak_memory
from chaos.recovery import Probe, settled
from chaos.scenario import Chaos, Row, Rows
from chaos.server_faults import RECOVERY_BAR_S, during, fault_row, keeps_feed

# Each chunk of 64 KiB takes so long, in each direction.
SLOW_S = 0.25
SILENT_S = 45.0


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
    yield _silent_at_start(engine, kafka.proxy)
    yield row(
        f"broker silent for {SILENT_S:.0f} s, its connections open",
        partial(_silent, kafka.proxy),
        seconds=SILENT_S,
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


def _silent_at_start(engine: Engine, proxy: TcpProxy) -> Row:
    """The broker is silent from when a worker has got its partitions until long after."""
    before = engine.workers[WORKER]
    before.kill()
    assignments = before.log.read_text().count("assigned: ")
    with peak_memory(engine) as memory, _slow(proxy):
        worker = engine.start_worker()
        until(lambda: worker.log.read_text().count("assigned: ") > assignments, 60)
        with _silent(proxy):
            failures = during(worker, SILENT_S)
            if engine.says_ready(worker):
                failures.append("the worker says that it is ready")
        proxy.delay_s = 0.0
        recover_s = Probe(engine).seconds()
        verdict = settled(engine)
        until(lambda: engine.says_ready(worker))
    return Row(
        fault=f"broker silent for {SILENT_S:.0f} s while a worker restores its partitions",
        verdict=verdict,
        recover_s=recover_s,
        recover_bar_s=RECOVERY_BAR_S,
        peak_mb=memory.mb,
        failures=tuple(failures),
    )
