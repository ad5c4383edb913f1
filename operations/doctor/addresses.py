"""Whether somebody listens at an address, asked of many at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable

_CONNECT_S = 2.0


def refused_addresses(addresses: Iterable[str]) -> dict[str, str]:
    """Return the addresses ``host:port`` at which nobody can connect, each with its reason.

    Waits some two seconds at most, however many there are, and however long a name takes.
    """
    asked = list(dict.fromkeys(addresses))
    found: dict[str, str] = {}

    def ask(address: str) -> None:
        found[address] = _reason(address)

    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in asked]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _CONNECT_S + 0.5
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    reasons = {address: found.get(address, f"{address}: timed out") for address in asked}
    return {address: reason for address, reason in reasons.items() if reason}


def _reason(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except socket.gaierror:
        return f"the name {host} does not resolve here"
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "timed out"
        return f"{address}: {str(reason).lower()}"
    return ""
