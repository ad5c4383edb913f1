"""Locks between processes: one `up` per folder, one download of Kafka per user."""

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
    """Hold the lock file while the block runs; the kernel releases it if the process dies.

    Waits while another process holds it. `purpose` completes "another process that …" in the
    messages.

    Raises
    ------
    LocalStackError
        Another process still holds it after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        deadline = time.monotonic() + timeout_s
        logged = False
        while not _try_lock(file.fileno()):
            if not logged:
                _log.info("waiting for another process that %s", purpose)
                logged = True
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"another process that {purpose} has held {path} for {timeout_s:.0f} s;"
                    " end that process, then try again"
                )
            time.sleep(0.05)
        yield


def _try_lock(fileno: int) -> bool:
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
