"""Long work says how far it is, and what stands when somebody ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from feedmill.cli import progress, train
from feedmill.cli.main import main
from feedmill.cli.progress import Work, long_work
from feedmill.events.errors import FeedmillError


def test_the_rest_is_estimated_from_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("feedmill.cli.progress.time.monotonic", lambda: now_s)
    work = Work("training spam")
    work.tell("reading 2 files")
    assert work.text() == "reading 2 files"
    work.tell("fitting", 0, 3)
    assert work.text() == "fitting, 0 of 3"
    now_s = 108.0
    work.tell("fitting", 1, 3)
    assert work.text() == "fitting, 1 of 3, some 16 s left"
    work.tell("fitting", 3, 3)
    assert work.text() == "fitting, 3 of 3"


def test_without_a_terminal_a_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    said = ""
    with long_work("building", "nothing was written") as work:
        work.tell("reading", 5, 10)
        while "5 of 10" not in said:
            said += capsys.readouterr().err
    line = next(one for one in said.splitlines() if "5 of 10" in one)
    assert line.startswith("building: reading, 5 of 10, some ")
    assert line.endswith("s so far")


def test_ctrl_c_says_how_far_it_came_and_what_stands() -> None:
    with (
        pytest.raises(FeedmillError, match=r"\(fitting, 1 of 3.*\); nothing was written$"),
        long_work("training", "nothing was written") as work,
    ):
        work.tell("fitting", 1, 3)
        raise KeyboardInterrupt


def test_a_terminal_sees_the_parts_and_ctrl_c_leaves_the_store_alone(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["sample", str(tmp_path / "sample")])
    words = (
        *("train", "spam", "--out", "models", "--ordinary", "sample/ordinary.jsonl,group=author"),
        *("--data", "sample/labelled.csv,text=body,label=kind,positive=junk,group=author"),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", *words],
        cwd=tmp_path,
        # What rich takes for a terminal.
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    seen = b""
    while b"training spam" not in seen:
        read = os.read(process.stderr.fileno(), 4096)
        assert read, seen
        seen += read
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 1
    assert rest.decode().rstrip().endswith(train.STANDS)
    assert list(tmp_path.glob("models/*")) == []
