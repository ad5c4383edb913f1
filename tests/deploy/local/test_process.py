"""Processes that are known by more than their pid."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from builders.waiting import until
from feedmill.deploy.local import LocalStackError
from feedmill.deploy.local.process import HOST, Server, choose_port, exclusive, is_free

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(60)",
]


def started(server: Server, command: list[str]) -> int:
    pid = server.start(command)
    until(lambda: "up" in server.log_tail())
    return pid


def test_a_stopped_server_is_gone(tmp_path: Path) -> None:
    server = Server("sleep", tmp_path)
    pid = started(server, SLEEP)
    assert server.pid() == pid
    server.stop(timeout_s=10)
    assert server.pid() is None
    assert not server.pid_file.exists()
    server.stop(timeout_s=10)


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    server = Server("stubborn", tmp_path)
    started(server, STUBBORN)
    server.stop(timeout_s=0.2)
    assert server.pid() is None


def test_a_recycled_pid_is_never_killed(tmp_path: Path) -> None:
    victim, server = Server("victim", tmp_path), Server("server", tmp_path)
    pid = started(victim, SLEEP)
    server.pid_file.write_text(json.dumps({"pid": pid, "started": "1"}))
    assert server.pid() is None
    server.stop(timeout_s=0.1)
    assert victim.pid() == pid
    victim.stop(timeout_s=10)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "started": "1"}', "7"])
def test_a_broken_pid_file_means_that_nothing_runs(tmp_path: Path, content: str) -> None:
    server = Server("server", tmp_path)
    server.pid_file.write_text(content)
    assert server.pid() is None


def test_a_remembered_port_is_taken_again_only_if_it_is_free() -> None:
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        chosen = choose_port(0, port, set(), "--port")
        assert chosen != port
        with pytest.raises(LocalStackError, match=f"port {port} .* give another --port"):
            choose_port(port, 0, set(), "--port")
    assert is_free(port)
    assert choose_port(0, port, set(), "--port") == port
    assert choose_port(0, port, {port}, "--port") != port


def test_a_held_lock_is_waited_for_and_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        exclusive(lock, "tests"),
        pytest.raises(
            LocalStackError, match=r"that tests has held .*lock for 0 s; end that process"
        ),
        exclusive(lock, "tests", timeout_s=0.1),
    ):
        pass
    with exclusive(lock, "tests", timeout_s=0.1):
        assert os.path.exists(lock)  # noqa: PTH110 (says what it means)
