"""Starts and stops the local stack of a folder, one Kafka and one Redis.

Everything of a stack is in its folder: data, settings, logs, pids and its last ports. Stacks in
different folders are independent; they share only Kafka's jars.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.kafka_server import kafka_serves, start_kafka
from feedmill.deploy.local.locks import exclusive
from feedmill.deploy.local.ports import HOST, choose_port
from feedmill.deploy.local.process import Server, write_atomically
from feedmill.deploy.local.redis_server import redis_serves, start_redis

_log = logging.getLogger(__name__)

# A broker that was killed under load checks its last segments first.
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class StackAddress:
    """The addresses of a stack: ``host:port`` of Kafka, a ``redis://`` url."""

    kafka: str
    redis: str


@dataclass(frozen=True)
class StackStatus:
    """The state of a folder's stack; addresses are "" if it never ran, pids None if it is down."""

    folder: Path
    kafka: str
    redis: str
    kafka_pid: int | None
    redis_pid: int | None

    @property
    def kafka_running(self) -> bool:
        return self.kafka_pid is not None

    @property
    def redis_running(self) -> bool:
        return self.redis_pid is not None

    @property
    def running(self) -> bool:
        """Whether both servers run."""
        return self.kafka_running and self.redis_running


@dataclass(frozen=True)
class _Ports:
    kafka: int = 0
    controller: int = 0
    redis: int = 0

    @property
    def address(self) -> StackAddress:
        return StackAddress(f"{HOST}:{self.kafka}", f"redis://{HOST}:{self.redis}/0")


def default_folder() -> Path:
    """``$FEEDMILL_HOME/local``, else ``.feedmill/local`` in the current folder."""
    return Path(os.environ.get("FEEDMILL_HOME") or ".feedmill").absolute() / "local"


def up(folder: Path, *, kafka_port: int = 0, redis_port: int = 0) -> StackAddress:
    """Start the servers of the folder's stack that do not run, and wait until both serve.

    Port 0 is the last port if it is free, else any free one. The first call downloads Kafka and
    may take minutes, later ones take seconds. The servers go on when the caller ends.

    Raises
    ------
    LocalStackError
        A server cannot be downloaded or started, or it runs on another port than the given one.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "lock", "starts or stops this stack"):
        kafka, redis = _servers(folder)
        last = _last_ports(folder)
        _refuse_another_port(kafka, kafka_port, last.kafka, "--kafka-port")
        _refuse_another_port(redis, redis_port, last.redis, "--redis-port")
        ports = _choose_ports(last, kafka, redis, kafka_port, redis_port)
        write_atomically(folder / "ports.json", json.dumps(asdict(ports)))
        if kafka.pid() is None:
            _log.info("starting Kafka and Redis in %s", folder)
        start = partial(start_redis, redis, ports.redis)
        _Start(redis, start, ports.redis, redis_serves).ensure_serving()
        start = partial(start_kafka, kafka, ports.kafka, ports.controller)
        _Start(kafka, start, ports.kafka, kafka_serves).ensure_serving()
        return ports.address


def down(folder: Path) -> None:
    """Stop the folder's stack and wait until it has ended; does nothing if it does not run.

    Raises `LocalStackError` if a server does not end.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        return
    with exclusive(folder / "lock", "starts or stops this stack"):
        servers = _servers(folder)
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop(_STOP_TIMEOUT_S)


def status(folder: Path) -> StackStatus:
    """The state of the folder's stack; neither waits nor starts anything."""
    folder = folder.absolute()
    kafka, redis = _servers(folder)
    ports = _last_ports(folder)
    address = ports.address if ports.kafka else StackAddress("", "")
    return StackStatus(folder, address.kafka, address.redis, kafka.pid(), redis.pid())


def _servers(folder: Path) -> tuple[Server, Server]:
    return Server("kafka", folder), Server("redis", folder)


def _last_ports(folder: Path) -> _Ports:
    try:
        return _Ports(**json.loads((folder / "ports.json").read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return _Ports()


def _refuse_another_port(server: Server, requested: int, current: int, option: str) -> None:
    if requested and requested != current and server.pid() is not None:
        raise LocalStackError(
            f"{server.name} of {server.folder} already runs on port {current}, not on {requested};"
            f" stop it with `feedmill local down` first, or leave out {option}"
        )


def _choose_ports(
    last: _Ports, kafka: Server, redis: Server, kafka_port: int, redis_port: int
) -> _Ports:
    chosen = last
    taken = {kafka_port, redis_port} - {0}
    if redis.pid() is None:
        port = choose_port(redis_port, last.redis, taken - {redis_port}, "--redis-port")
        chosen = _Ports(chosen.kafka, chosen.controller, port)
    taken.add(chosen.redis)
    if kafka.pid() is None:
        port = choose_port(kafka_port, last.kafka, taken - {kafka_port}, "--kafka-port")
        controller = choose_port(0, last.controller, taken | {port}, "")
        chosen = _Ports(port, controller, chosen.redis)
    return chosen


@dataclass(frozen=True)
class _Start:
    """How to start one server, and how to see that it serves on its port."""

    server: Server
    start: Callable[[], None]
    port: int
    serves: Callable[[int], bool]

    def ensure_serving(self) -> None:
        """Start the server unless it runs, and wait until it serves."""
        # A server that was just killed seems to run for some milliseconds.
        if self.server.pid() is not None and self._wait_until_serving():
            return
        self.start()
        if not self._wait_until_serving():
            raise LocalStackError(
                f"{self.server.name} ended while it started; the last lines of"
                f" {self.server.log_file}:\n{self.server.log_tail()}"
            )

    def _wait_until_serving(self) -> bool:
        """False if the server ends before it serves."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.serves(self.port):
            if self.server.pid() is None:
                return False
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"{self.server.name} (pid {self.server.pid()}) does not answer after"
                    f" {_START_TIMEOUT_S:.0f} s; see {self.server.log_file}; `feedmill local down`"
                    " stops it"
                )
            time.sleep(0.05)
        return True
