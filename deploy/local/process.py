"""Server processes that go on after the command that started them.

A process is identified by its pid *and* its start time. So another program that got the same pid
later is never taken for the server, and never killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError

# Servers that this process started: they are polled, or they would stay zombies when they end.
_children: list[subprocess.Popen[bytes]] = []


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

        Raises
        ------
        LocalStackError
            It belongs to another user, or goes on even after SIGKILL.
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
