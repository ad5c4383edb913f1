"""The local stack: one Kafka and one Redis of a folder, started, asked about and stopped.

Everything of a stack is in its folder: data, settings, logs, pids and the ports it had
last. Stacks in different folders know nothing of each other but the jars they share.
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
from feedmill.deploy.local.process import Server, write_whole
from feedmill.deploy.local.redis_server import redis_serves, start_redis

_log = logging.getLogger(__name__)

# A broker killed under load checks its last segments first.
_START_S = 90.0
_STOP_S = 30.0


@dataclass(frozen=True)
class StackAddress:
    """Where the servers of a stack are: ``host:port`` and a ``redis://`` url."""

    kafka: str
    redis: str


@dataclass(frozen=True)
class StackStatus:
    """What is known of the stack of a folder; addresses are empty if it never ran."""

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
    """Return ``$FEEDMILL_HOME/local``, or ``.feedmill/local`` in the current folder."""
    return Path(os.environ.get("FEEDMILL_HOME") or ".feedmill").absolute() / "local"


def up(folder: Path, *, kafka_port: int = 0, redis_port: int = 0) -> StackAddress:
    """Start what does not run of the folder's stack and wait until both servers serve.

    Port 0 means the one it had last, if that is still free, else any free one. May take
    minutes the first time (it fetches Kafka), seconds after. Servers go on when the
    caller ends.

    Raises
    ------
    LocalStackError
        A server cannot be fetched or started, or runs on another port than the asked one.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "lock", "starts or stops the stack of this folder"):
        kafka, redis = _servers(folder)
        last = _remembered(folder)
        _refuse_moving(kafka, kafka_port, last.kafka, "--kafka-port")
        _refuse_moving(redis, redis_port, last.redis, "--redis-port")
        ports = _choose_ports(last, kafka, redis, kafka_port, redis_port)
        write_whole(folder / "ports.json", json.dumps(asdict(ports)))
        if kafka.pid() is None:
            _log.info("starting Kafka and Redis in %s", folder)
        start = partial(start_redis, redis, ports.redis)
        _Running(redis, start, ports.redis, redis_serves).ensure()
        start = partial(start_kafka, kafka, ports.kafka, ports.controller)
        _Running(kafka, start, ports.kafka, kafka_serves).ensure()
        return ports.address


def down(folder: Path) -> None:
    """Stop the folder's stack and wait until it is gone; nothing happens where none runs."""
    folder = folder.absolute()
    if not folder.is_dir():
        return
    with exclusive(folder / "lock", "starts or stops the stack of this folder"):
        servers = _servers(folder)
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop(_STOP_S)


def status(folder: Path) -> StackStatus:
    """Return what is known of the folder's stack; neither blocks nor starts anything."""
    folder = folder.absolute()
    kafka, redis = _servers(folder)
    ports = _remembered(folder)
    address = ports.address if ports.kafka else StackAddress("", "")
    return StackStatus(folder, address.kafka, address.redis, kafka.pid(), redis.pid())


def _servers(folder: Path) -> tuple[Server, Server]:
    return Server("kafka", folder), Server("redis", folder)


def _remembered(folder: Path) -> _Ports:
    try:
        return _Ports(**json.loads((folder / "ports.json").read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return _Ports()


def _refuse_moving(server: Server, asked: int, current: int, option: str) -> None:
    if asked and asked != current and server.pid() is not None:
        raise LocalStackError(
            f"{server.name} of {server.folder} already runs on port {current}, {option} asks for"
            f" {asked}; `feedmill local down` first, or leave the option out"
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
class _Running:
    """How one server of the stack is brought to serve on its port."""

    server: Server
    start: Callable[[], None]
    port: int
    serves: Callable[[int], bool]

    def ensure(self) -> None:
        """Start the server unless it runs, and wait until it serves."""
        # One that was just killed still looks alive for some milliseconds.
        if self.server.pid() is not None and self._wait():
            return
        self.start()
        if not self._wait():
            raise LocalStackError(
                f"{self.server.name} ended while it started; the end of"
                f" {self.server.log_file}:\n{self.server.last_words()}"
            )

    def _wait(self) -> bool:
        """Wait until it serves; False if it ends instead."""
        deadline = time.monotonic() + _START_S
        while not self.serves(self.port):
            if self.server.pid() is None:
                return False
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"{self.server.name} (pid {self.server.pid()}) does not answer after"
                    f" {_START_S:.0f} s; see {self.server.log_file}; `feedmill local down`"
                    " stops it"
                )
            time.sleep(0.05)
        return True
