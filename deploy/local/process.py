"""Server processes that go on after the command that started them, their ports, and locks.

A process is identified by its pid *and* its start time. So another program that got the same pid
later is never taken for the server, and never killed. A lock is held by one process: one `up` per
folder, one download of Kafka per user.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feedmill.events.errors import FeedmillError

_log = logging.getLogger(__name__)
HOST = "127.0.0.1"
# Below the range of outgoing connections, so that a stack that was down mostly finds its last
# ports still free.
_FIRST, _LAST = 20_000, 32_000
# Servers that this process started: they are polled, or they would stay zombies when they end.
_children: list[subprocess.Popen[bytes]] = []


class LocalStackError(FeedmillError):
    """A server cannot be installed, started or stopped; the text has which, why and the way out."""


@contextmanager
def exclusive(path: Path, purpose: str, timeout_s: float = 300.0) -> Iterator[None]:
    """Hold the lock file while the block runs; the kernel releases it if the process dies.

    Waits while another process holds it. `purpose` completes "another process that …" in the
    messages.

    Raises `LocalStackError`: another process still holds it after `timeout_s`.
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

    Raises `LocalStackError`: the requested port, the value of `option`, is taken.
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


@dataclass(frozen=True)
class Server:
    """A server of a stack: its files in the stack's folder, and its process if it runs."""

    name: str
    folder: Path

    @property
    def pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    def pid(self) -> int | None:
        """The pid of the process; None if it does not run."""
        try:
            content = json.loads(self.pid_file.read_text("utf-8"))
            pid, started = int(content["pid"]), str(content["started"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return pid if _start_time(pid) == started else None

    def start(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
        """Start the process, with its output in the log file; returns its pid.

        It is detached from terminal and session, so that it goes on when its parent ends.
        """
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environ,
                start_new_session=True,
            )
        _children.append(process)
        write_atomically(
            self.pid_file, json.dumps({"pid": process.pid, "started": _start_time(process.pid)})
        )
        return process.pid

    def ask_to_stop(self) -> None:
        """Send SIGTERM if it runs, and do not wait."""
        self._signal(signal.SIGTERM)

    def stop(self, timeout_s: float) -> None:
        """Stop the process and wait until it has ended: SIGTERM, after `timeout_s` SIGKILL.

        Raises `LocalStackError`: it belongs to another user, or goes on even after SIGKILL.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            if self._ends_within(timeout_s):
                self.pid_file.unlink(missing_ok=True)
                return
        raise LocalStackError(
            f"{self.name} (pid {self.pid()}) goes on even after SIGKILL; see {self.log_file}"
        )

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of the log, indented, for an error message."""
        try:
            text = self.log_file.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is None:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise LocalStackError(
                f"{self.name} (pid {pid}) belongs to another user; stop it as that user"
            ) from error

    def _ends_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that readers see either the old or the whole new content."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def _start_time(pid: int) -> str | None:
    """When this process started, as the system writes it; None if it has ended."""
    for child in _children:
        if child.pid == pid and child.poll() is not None:
            return None
    try:
        # Field 2, the program's name, may contain blanks and brackets; the rest follows it.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # If only the first thread has ended, the others may still hold ports and files.
    return None if state in "ZX" and threads <= 1 else started


def _start_time_by_ps(pid: int) -> str | None:
    """The same by `ps`, for systems without /proc (macOS)."""
    outcome = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = outcome.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None
