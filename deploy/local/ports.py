"""Ports on loopback that nobody listens on."""

from __future__ import annotations

import secrets
import socket

from feedmill.deploy.local.errors import LocalStackError

HOST = "127.0.0.1"
# Below the range from which systems take the local ports of outgoing connections,
# so that a stack which was down finds its remembered ports free more often.
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers themselves do: connections that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """Return a free port at random, so that stacks which start at once seldom pick the same."""
    for _ in range(1000):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in taken and is_free(port):
            return port
    raise LocalStackError(f"no port between {_FIRST} and {_LAST} of {HOST} is free")


def choose_port(asked: int, remembered: int, taken: set[int], option: str) -> int:
    """Return the asked port, else the remembered one if it is free, else any free one.

    Raises `LocalStackError` if the asked one is taken.
    """
    if asked:
        if asked in taken or not is_free(asked):
            raise LocalStackError(
                f"port {asked} of {HOST} is taken by another program; give another {option},"
                " or none to have a free one chosen"
            )
        return asked
    if remembered and remembered not in taken and is_free(remembered):
        return remembered
    return free_port(taken)
