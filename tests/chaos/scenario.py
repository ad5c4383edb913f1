"""What a scenario is given, and the rows that it yields.

A scenario is a module of `chaos.scenarios` with `run(chaos)`, which yields a row for each fault.
"""

from __future__ import annotations

import contextlib
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from builders.engine import Engine, made_engines
from builders.engine_topics import PARTITIONS
from builders.own_redis import OwnRedis
from builders.patient_broker import PATIENT_BROKER
from builders.tcp_proxy import TcpProxy
from chaos.verdict import Verdict
from feedmill.deploy.local import StackAddress, down, up


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault, how often it was caused, and what came of it.

    `recover_s` is the longest time in which the engine served everything again, `recover_bar_s`
    what it may take; `peak_mb` is the most resident memory of a worker.  `failures` are whatever
    else does not hold, `notes` are lines for who reads the run.
    """

    fault: str
    rounds: int = 1
    events: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    recover_s: float = 0.0
    recover_bar_s: float = 0.0
    peak_mb: float = 0.0
    peak_bar_mb: float = 1000.0
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Every bar but that of the time that fails; empty where all hold."""
        found = [*self.verdict.examples, *self.failures]
        if self.peak_mb > self.peak_bar_mb:
            found.append(f"a worker took {self.peak_mb:.0f} MB, not {self.peak_bar_mb:.0f}")
        return found

    @property
    def is_slow(self) -> bool:
        """Whether it took longer than its bar: the engine's fault, or that of a busy machine."""
        return self.recover_s > self.recover_bar_s

    @classmethod
    def failed(cls, fault: str, reason: str) -> Row:
        """A row of a scenario that did not come to its end."""
        return cls(fault=fault, rounds=0, failures=(reason,))


class Chaos:
    """The surroundings of one scenario; use as a context: at its end everything is stopped."""

    def __init__(self, name: str, seed: int, *, is_long: bool, stack: SharedStack) -> None:
        self.name, self.seed, self.is_long = name, seed, is_long
        self.random = random.Random(f"{name} {seed}")
        self._stack = stack
        self._folder = stack.folder / name
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Chaos:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def stack(self) -> StackAddress:
        """Kafka and Redis that scenarios share: for faults of workers and events only."""
        return self._stack.address()

    def own_stack(self, brokers: int = 1) -> tuple[StackAddress, Path]:
        """Kafka and Redis of this scenario alone, to break; and their folder."""
        folder = self.folder("stack")
        self._open.callback(down, folder)
        return up(folder, brokers=brokers), folder

    def at_end(self, close: Callable[[], object]) -> None:
        """Call this when the scenario has ended, before what was opened earlier is closed."""
        self._open.callback(close)

    def own_redis(self) -> OwnRedis:
        """Start an empty Redis of this scenario alone."""
        server = OwnRedis(self.folder("redis"))
        self._open.callback(server.close)
        server.start()
        return server

    def proxy(self, target_port: int = 0) -> TcpProxy:
        """Start a proxy to a port of loopback."""
        proxy = TcpProxy(target_port)
        self._open.callback(proxy.close)
        return proxy

    def engine(self, *, kafka: str = "", redis: str = "", partitions: int = PARTITIONS) -> Engine:
        """Make an engine on a fresh prefix, by default on the shared stack; no worker runs yet."""
        servers = kafka or self.stack.kafka, redis or self.stack.redis
        make = self._open.enter_context(made_engines(*servers, self._folder))
        return make(partitions=partitions)

    def ends_of_logs(self) -> list[str]:
        """The last lines of the logs of workers and servers, to be read after a failure."""
        logs = [*self._folder.glob("*/*.log"), *self._stack.folder.glob("shared-stack/*.log")]
        return [
            f"    {log.relative_to(self._stack.folder)}: {line[:300]}"
            for log in sorted(logs)
            for line in log.read_text("utf-8", "replace").splitlines()[-6:]
        ]

    def folder(self, kind: str) -> Path:
        """Name a folder of this scenario alone, which does not exist yet."""
        return self._folder / f"{kind}-{uuid.uuid4().hex[:6]}"


class SharedStack:
    """A stack that is started when a scenario first asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._address: StackAddress | None = None

    def address(self) -> StackAddress:
        with self._lock:
            if self._address is None:
                self._address = up(self.folder / "shared-stack", broker_settings=PATIENT_BROKER)
            return self._address

    def close(self) -> None:
        down(self.folder / "shared-stack")


Rows = Iterator[Row]
