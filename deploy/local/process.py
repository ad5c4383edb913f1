"""Server processes that outlive the command that starts them.

A process is known by its pid *and* its start time, so that a pid which the system has
given to another program is never mistaken for ours, and never killed.
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

# Children of this very process: polled, lest a dead one stays a zombie as long as we live.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Server:
    """A server of a stack: its name, the file that remembers its process, and its log."""

    name: str
    folder: Path

    @property
    def pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    def pid(self) -> int | None:
        """Return the pid of the running process; None where there is none."""
        try:
            known = json.loads(self.pid_file.read_text("utf-8"))
            pid, started = int(known["pid"]), str(known["started"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return pid if _start_time(pid) == started else None

    def start(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
        """Start the process, detached from terminal and session, its output in the log file."""
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
        write_whole(
            self.pid_file, json.dumps({"pid": process.pid, "started": _start_time(process.pid)})
        )
        return process.pid

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it runs."""
        self._signal(signal.SIGTERM)

    def stop(self, patience_s: float) -> None:
        """Stop the process and wait until it is gone: SIGTERM, after `patience_s` SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            if self._gone_within(patience_s):
                self.pid_file.unlink(missing_ok=True)
                return
        raise LocalStackError(
            f"{self.name} (pid {self.pid()}) does not end, not even killed; see {self.log_file}"
        )

    def last_words(self, lines: int = 12) -> str:
        """Return the end of the log, for an error message."""
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

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader sees all of it or the one before."""
    scratch = path.with_suffix(path.suffix + ".new")
    scratch.write_text(text, "utf-8")
    scratch.replace(path)


def _start_time(pid: int) -> str | None:
    """Return when this process started, in the system's own terms; None if it is gone."""
    for child in _children:
        if child.pid == pid and child.poll() is not None:
            return None
    try:
        # Field 2 is the program's name and may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # A dead first thread says little: the others may still hold ports and files.
    return None if state in "ZX" and threads <= 1 else started


def _start_time_by_ps(pid: int) -> str | None:
    """Ask `ps`, where there is no /proc (macOS)."""
    outcome = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = outcome.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None
