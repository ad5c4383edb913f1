"""`feedmill console` as a process, and who has a token."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from builders.console_client import ConsoleClient
from feedmill.cli.main import main

NOWHERE = ("--kafka", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1/0")


@contextmanager
def console(folder: Path, *options: str) -> Iterator[str]:
    """Run a console in a folder; yield the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "console", "--port", "0", *NOWHERE, *options],
        cwd=folder,
        env={name: text for name, text in os.environ.items() if not name.startswith("FEEDMILL_")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("console on http://127.0.0.1:"), line
        yield line.removeprefix("console on ").strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> str:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def client_of(address: str) -> ConsoleClient:
    port = re.search(r":(\d+)/", address)
    assert port is not None
    return ConsoleClient(int(port[1]))


def test_it_prints_a_link_that_signs_in(tmp_path: Path) -> None:
    with console(tmp_path) as address:
        client = client_of(address)
        answer = client.get(address.removeprefix(client.origin))
        assert answer.status == 303
        client.cookie = answer.headers["set-cookie"].partition(";")[0]
        assert client.get("/nowhere").status == 404


def test_with_tokens_it_prints_no_link_and_people_sign_in_by_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = run(tmp_path, monkeypatch, "token add ann --role moderator")
    run(tmp_path, monkeypatch, "token add bob --role viewer")
    listed = json.loads(run(tmp_path, monkeypatch, "token list --json"))
    assert listed == [
        {"name": "ann", "role": "moderator", "per_second": None},
        {"name": "bob", "role": "viewer", "per_second": None},
    ]
    assert run(tmp_path, monkeypatch, "token remove bob") == "the token of bob counts no more"
    with console(tmp_path) as address:
        assert "token" not in address
        client = client_of(address)
        assert client.sign_in_by_token(token)
        assert "this takes the role operator" in client.post("/settings").text
    with console(tmp_path, "--link", "--read-only") as address:
        client = client_of(address)
        answer = client.get(address.removeprefix(client.origin))
        client.cookie = answer.headers["set-cookie"].partition(";")[0]
        assert "--read-only" in client.post("/settings").text
