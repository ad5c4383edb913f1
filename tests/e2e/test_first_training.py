"""The first training and evaluation of a user, from outside: `feedmill` and `git` as processes."""

import csv
import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builders.training_data import sentences

ROOT = Path(__file__).parents[2]
ORDINARY = 7_200


def environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("FEEDMILL_")}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def command(line: str) -> list[str]:
    return [sys.executable, "-m", "feedmill.cli.main", *shlex.split(line)]


def feedmill(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(line),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],  # noqa: S607 - the one on the path
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this project, as git sees it, with files of the user."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(ROOT / ".gitignore", folder)
    # Called as a set of this project is.
    with gzip.open(folder / "spam_sms_uci.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        rows.writerows((text, 1) for text in sentences(60, 5, "BUY now!!"))
        rows.writerows((text, 0) for text in sentences(60, 6))
        # Of another length: a slice of all rows is not shown.
        rows.writerows((f"{text} {text} {text}", 0) for text in sentences(30, 7))
    lines = (json.dumps({"text": text}) + "\n" for text in sentences(ORDINARY, 3, "today"))
    (folder / "plain.jsonl").write_text("".join(lines))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=u", "-c", "user.email=u@example", "commit", "-qm", "as cloned")
    return folder


@pytest.fixture(scope="module")
def report(user: Path) -> str:
    """What an evaluation of the user's own file says, which is logged as a look."""
    data = "--data spam_sms_uci.csv.gz --ordinary plain.jsonl"
    return feedmill(user, f"evaluate spam {data} --look 'the first one'").stdout


def test_a_file_of_ones_own_is_evaluated_as_anybodys(report: str) -> None:
    assert "| spam_sms_uci |" in report
    assert "| spam_sms_uci | length: to 100 |" in report
    assert "version 0.1" not in report
    assert "these have more hidden" not in report
    assert "No community, page, author or host is known that has" in report


@pytest.mark.usefixtures("report")
def test_what_commands_leave_in_a_clone_is_not_committed(user: Path) -> None:
    (user / "run.log").write_text("make run > run.log 2>&1")
    shown = git(user, "status", "--porcelain", "--ignored")
    assert shown.splitlines() == ["!! looks.jsonl", "!! run.log"]
