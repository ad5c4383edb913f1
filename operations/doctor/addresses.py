"""Whether somebody listens at an address, asked of many at once."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

_CONNECT_S = 2.0


def refused_addresses(addresses: Iterable[str]) -> dict[str, str]:
    """Return the addresses ``host:port`` at which nobody can connect, each with its reason.

    Waits two seconds at most, however many there are.
    """
    asked = list(dict.fromkeys(addresses))
    threads = ThreadPoolExecutor(max(1, min(32, len(asked))))
    reasons = threads.map(_reason, asked)
    found = {address: reason for address, reason in zip(asked, reasons, strict=True) if reason}
    threads.shutdown(wait=False)
    return found


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
