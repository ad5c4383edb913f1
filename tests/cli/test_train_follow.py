"""`feedmill train --follow` without Kafka: what it needs, and that a failed round is not its end.

`tests/e2e/faults/test_continual_learning.py` follows real topics.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from kafka.errors import KafkaConnectionError
from msgspec.structs import replace

from builders.label_simulation import judged, ordinary_text
from feedmill.cli import train_follow
from feedmill.cli.main import main
from feedmill.events.errors import UsageError
from feedmill.filters.model import STORE
from feedmill.training.continual import challenger
from feedmill.training.continual.challenger import ChallengeResult
from feedmill.training.continual.label_contest import LabelContest


def ordinary_file(folder: Path, count: int, at: str) -> Path:
    random = np.random.default_rng(8)
    path = folder / "ordinary.jsonl"
    lines = [json.dumps({"text": ordinary_text(random), "at": at}) for _ in range(count)]
    path.write_text("\n".join(lines))
    return path


def follow(path: Path, *, columns: str = ",time=at", as_json: bool = True) -> Result:
    words = ["train", "spam", "--follow", "--window", "1d", *(["--json"] if as_json else [])]
    return CliRunner().invoke(main, [*words, "--ordinary", f"{path}{columns}"])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path / "made"))
    monkeypatch.setenv("FEEDMILL_KAFKA", "127.0.0.1:1")
    return tmp_path


@pytest.mark.usefixtures("store")
def test_the_reference_is_older_than_the_window_and_large_enough(tmp_path: Path) -> None:
    few = follow(ordinary_file(tmp_path, 3000, "2020-01-01"))
    assert few.exit_code == 1
    assert "--follow needs 3,000 ordinary posts that are older than the window" in few.stderr
    young = follow(ordinary_file(tmp_path, 5200, "2100-01-01"))
    assert "found 0; name a larger file" in young.stderr


def test_it_needs_the_store_of_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEEDMILL_MODELS", raising=False)
    monkeypatch.setenv("FEEDMILL_KAFKA", "127.0.0.1:1")
    result = follow(ordinary_file(tmp_path, 10, "2020-01-01"))
    assert result.exit_code == 1
    assert "--follow needs FEEDMILL_MODELS" in result.stderr


@pytest.mark.usefixtures("store")
def test_a_round_that_fails_is_reported_and_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[BaseException] = [
        *(KafkaConnectionError("away"), UsageError("`spam` is frozen"), KeyboardInterrupt())
    ]

    class Window:
        def read(self) -> Any:
            raise failures.pop(0)

    @contextlib.contextmanager
    def open_window(*_: Any) -> Iterator[Window]:
        yield Window()

    monkeypatch.setattr(train_follow, "_open_window", open_window)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    result = follow(ordinary_file(tmp_path, 5200, "2020-01-01"))
    assert result.exit_code == 0
    assert failures == []
    rounds = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [one["reason"] for one in rounds] == ["KafkaConnectionError: away", "`spam` is frozen"]


@pytest.mark.usefixtures("store")
def test_the_audit_judges_a_challenger_and_does_not_train_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (post, [replace(one, sampling_probability=0.1) for one in labels] if n < 30 else labels)
        for n, (post, labels) in enumerate(judged("wave", 1))
    ]
    windows = [SimpleNamespace(judged=lambda _: rows, left_out={})]
    tried: list[LabelContest] = []

    @contextlib.contextmanager
    def open_window(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(read=windows.pop)

    def challenge(contest: LabelContest) -> ChallengeResult[Any]:
        tried.append(contest)
        return ChallengeResult("not better", 1, 1.0)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_follow, "_open_window", open_window)
    monkeypatch.setattr(train_follow, "_champion_of", lambda *_: None)
    monkeypatch.setattr(challenger, "challenge", challenge)
    monkeypatch.setattr(time, "sleep", interrupted)
    shutil.copytree(STORE, tmp_path / "made")
    (line,) = follow(ordinary_file(tmp_path, 5200, "2020-01-01")).stdout.splitlines()
    assert json.loads(line)["reason"] == "not better"
    assert (json.loads(line)["audited"], json.loads(line)["new"]) == (30, 170)
    (contest,) = tried
    assert {row.post.post_id for row in contest.audit} == {f"p{n}" for n in range(30)}
    assert {row.post.post_id for row in contest.rows} == {f"p{n}" for n in range(30, 200)}


@pytest.mark.usefixtures("store")
def test_it_says_what_it_does_and_how_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def no_window(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(read=lambda: None)

    def one_round(*_: Any) -> dict[str, Any]:
        left_out = {"labels of unknown posts": 3, "labels that break the contract": 1}
        return {"labels": 5, "left_out": left_out, "reason": "too few raters"}

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_follow, "_open_window", no_window)
    monkeypatch.setattr(train_follow, "_label_round", one_round)
    monkeypatch.setattr(time, "sleep", interrupted)
    path = ordinary_file(tmp_path, 5200, "2020-01-01")
    done = follow(path, columns="", as_json=False)
    assert done.exit_code == 0
    reading, no_times, follows, ended = done.stderr.splitlines()
    assert reading == f"reading the ordinary posts of {path}"
    assert "--ordinary says no times, so all its posts count as older" in no_times
    assert re.match(r"spam follows `labels`: a round each 5 minutes, .* Ctrl-C ends it", follows)
    assert ended == "ended: what was released stays, and nothing else was changed"
    assert done.stdout.endswith(
        "spam: labels 5, left_out 3 labels of unknown posts; 1 labels that break the contract,"
        " reason too few raters\n"
    )
    assert "no times" not in follow(path).stderr
    # The store was not there.
    assert (tmp_path / "made").is_dir()
