"""Locks between processes: one `up` a folder, one fetch a machine."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError

_log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path, purpose: str, timeout_s: float = 300.0) -> Iterator[None]:
    """Hold the lock file while the block runs; the kernel frees it when the process dies.

    Blocks while another process holds it; raises `LocalStackError` after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        deadline = time.monotonic() + timeout_s
        told = False
        while not _taken(file.fileno()):
            if not told:
                _log.info("waiting for another process that %s", purpose)
                told = True
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"another process has held {path} for {timeout_s:.0f} s ({purpose});"
                    " end it, then try again"
                )
            time.sleep(0.05)
        yield


def _taken(fileno: int) -> bool:
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
