"""Chooses free ports on loopback."""

from __future__ import annotations

import secrets
import socket

from feedmill.deploy.local.errors import LocalStackError

HOST = "127.0.0.1"
# Below the range of outgoing connections, so that a stack that was down mostly finds its last
# ports still free.
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # The servers set it too: connections in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """A random free port that is not in `taken`: two stacks that start rarely choose the same."""
    for _ in range(1000):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in taken and is_free(port):
            return port
    raise LocalStackError(
        f"no port between {_FIRST} and {_LAST} of {HOST} is free; end other programs, or name a"
        " port with --kafka-port and --redis-port"
    )


def choose_port(requested: int, last: int, taken: set[int], option: str) -> int:
    """The requested port, else the last one if it is free, else any free one.

    0 stands for no requested and no last port.

    Raises
    ------
    LocalStackError
        The requested port, the value of `option`, is taken.
    """
    if requested:
        if requested in taken or not is_free(requested):
            raise LocalStackError(
                f"port {requested} of {HOST} is taken by another program; give another {option},"
                " or leave it out to get a free one"
            )
        return requested
    if last and last not in taken and is_free(last):
        return last
    return free_port(taken)
