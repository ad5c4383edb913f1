"""Faults of models: released, ended by a post, or judging other posts."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from unittest import mock

import msgspec

from alarms.surroundings import SEEN_BEFORE_S, Surroundings
from builders.broken_model import break_model, greedy_model, poison_model
from builders.engine import Engine, Worker
from builders.engine_topics import Json
from builders.model_store import add_version, shipped_store
from builders.records import record, record_batch
from builders.s3_server import keys_to, new_store, running_s3_server
from builders.tcp_proxy import TcpProxy
from builders.waiting import in_background, now_ms, until
from chaos.load import COMMUNITIES
from feedmill.deploy.local.process import HOST, free_port
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.signal import SignalNames
from feedmill.streams.watch.model_watch import ModelWatch

# How far the rules look back for the day before.
DAY_S = 65.0
HOUR_MS = 3_600_000
GIGABYTE = 1_000_000_000


def refused_release(at: Surroundings) -> Iterator[None]:
    release = {"sha256": "0" * 64, "answers": [0.5], "by": "nobody"}
    offset = at.engine.send("models", "spam", release, partition=0).get(10).offset
    yield
    assert offset >= 0
    at.engine.send("models", "spam", None, partition=0).get(10)


def waiting_release(at: Surroundings) -> Iterator[None]:
    """Release a version while the server of the store does not answer."""
    with (
        running_s3_server() as server,
        contextlib.closing(TcpProxy(int(server.rpartition(":")[2]))) as proxy,
        mock.patch.dict(os.environ, keys_to(server)),
    ):
        folder, store = shipped_store(at.engine.folder / "store"), new_store()
        sha256 = add_version(folder, "quality")
        for name in (f"{sha256}.npz", f"quality@{sha256[:12]}.json"):
            store.write(name, (folder / name).read_bytes())
        variables = {"FEEDMILL_MODELS": store.address}
        with _other_worker(
            at, "away", {**variables, "AWS_ENDPOINT_URL": f"http://{HOST}:{proxy.port}"}
        ):
            port, proxy.target_port = proxy.target_port, free_port(set())
            proxy.cut()
            words = ["models", "release", "quality", sha256, "--timeout", "0"]
            subprocess.run(
                [sys.executable, "-m", "feedmill.cli.main", *words],
                env={**at.engine.environment(), **variables},
                check=True,
            )
            yield
            proxy.target_port = port
            until(lambda: _version(at.engine) == sha256[:12], 120)
            at.engine.send("models", "quality", None, partition=0).get(10)


def _version(engine: Engine) -> str:
    beat = engine.instances().get("quality/away", {})
    return str(beat.get("models", {}).get("quality", ""))


def broken_model(at: Surroundings) -> Iterator[None]:
    """Run a filter that raises on every post, so that its gate holds them."""
    tree = break_model(at.engine.folder / "broken-tree", "nsfw")

    def post_until(stop: threading.Event) -> None:
        while not stop.wait(0.2):
            at.engine.post(f"broken-{now_ms()}", communities=[COMMUNITIES[0]])

    with _other_worker(at, "broken", {"PYTHONPATH": str(tree)}), in_background(post_until):
        yield


def post_that_ends_workers(at: Surroundings) -> Iterator[None]:
    """Post a text that ends whatever judges it, and start the worker again as a supervisor does."""
    variables = {"PYTHONPATH": str(poison_model(at.engine.folder / "poison-tree", "nsfw"))}
    with _other_worker(at, "poison", variables):
        time.sleep(SEEN_BEFORE_S)
        at.engine.post("greedy", "On this text it takes all memory")

        def is_found() -> bool:
            if at.worker is None or at.worker.process.poll() is not None:
                at.worker = at.engine.start_worker("poison", variables=variables)
                at.prometheus.watch(at.engine.port_of(at.worker))
            return any(one["key"] == b"greedy" for one in at.engine.dead_letters().values())

        until(is_found, 180, every=0.5)
        yield


def greedy_worker(at: Surroundings) -> Iterator[None]:
    """Have a filter hold a gigabyte, a day after the worker was started."""
    more = at.engine.folder / "more-memory"
    tree = greedy_model(at.engine.folder / "greedy-tree", "spam", more, GIGABYTE)
    with _other_worker(at, "greedy", {"PYTHONPATH": str(tree)}) as worker:
        time.sleep(DAY_S)
        more.touch()
        at.engine.post("held")
        yield
        more.unlink()
        at.engine.post("freed")
        until(lambda: at.engine.metric(worker, "feedmill_memory_bytes") < GIGABYTE)


def bad_signals_while_nobody_ranks(at: Surroundings) -> Iterator[None]:
    """Send more bad signals than a worker keeps that has little memory."""
    assert at.worker is not None
    at.worker.stop()
    for _ in range(40_000):
        at.engine.send("signals.spam", "bad", b"{")
    at.engine.producer.flush(60)
    at.start("little", variables={"FEEDMILL_MEMORY_MIB": "64"})
    yield
    at.worker.stop()
    at.start()


def other_reactions(at: Surroundings) -> Iterator[None]:
    """Have all users click, where half of them did on the day before."""
    assert at.worker is not None
    state, port = at.engine.folder / "watch.json", free_port(set())
    _write_day(state)
    watch = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "models", "watch", "--state", str(state)],
        env={
            **at.engine.environment(),
            "FEEDMILL_INSTANCE": "reactions",
            "FEEDMILL_PORT": str(port),
        },
        cwd=at.engine.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        at.prometheus.watch(at.engine.port_of(at.worker), port)
        until(lambda: _watch(at.engine).get("ready"), 60)
        _send_kinds(at.engine, ["click"] * 2_000)
        yield
        _send_kinds(at.engine, (_half_click(n) for n in range(20_000)))
        until(lambda: all(one["state"] != "drift" for one in _watch(at.engine)["drift"]), 60)
        time.sleep(3.0)
    finally:
        watch.send_signal(signal.SIGTERM)
        watch.wait(30)
        at.prometheus.watch(at.engine.port_of(at.worker))


def _watch(engine: Engine) -> Json:
    """The last heartbeat of the process that watches."""
    return engine.instances().get("watch/reactions", {})


def _half_click(n: int) -> EngagementKind:
    return "click" if n % 2 else "impression"


def _write_day(path: Path) -> None:
    """Write what a process knows that saw a day on which half of the users clicked."""
    watch, now = ModelWatch(SignalNames(), lambda *_: None), now_ms()
    for hour in range(25, 0, -1):
        at_ms = now - hour * HOUR_MS
        events = [Engagement("p", f"u{n}", _half_click(n), at_ms) for n in range(2_000)]
        records = [record(one.post_id, one, timestamp=at_ms) for one in events]
        watch.take(record_batch("engagements", records))
    path.write_bytes(msgspec.json.encode(watch.saved()))


def _send_kinds(engine: Engine, kinds: Iterable[EngagementKind]) -> None:
    for n, kind in enumerate(kinds):
        engine.click("some", f"user-{n}", kind=kind)
    engine.producer.flush(60)


@contextlib.contextmanager
def _other_worker(at: Surroundings, name: str, variables: Mapping[str, str]) -> Iterator[Worker]:
    """Run a worker with more variables in place of the one that runs."""
    assert at.worker is not None
    at.worker.stop()
    worker = at.start(name, variables=variables)
    try:
        yield worker
    finally:
        at.worker.stop()
        at.start()
