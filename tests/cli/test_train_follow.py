"""`feedmill train --follow` without Kafka: what it needs, and that a failed round is not its end.

`tests/e2e/faults/test_continual_learning.py` follows real topics.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from kafka.errors import KafkaConnectionError

from feedmill.cli import train_follow
from feedmill.cli.main import main
from feedmill.events.errors import UsageError
from feedmill.training.evaluation.label_simulation import ordinary_text


def ordinary_file(folder: Path, count: int, at: str) -> Path:
    random = np.random.default_rng(8)
    path = folder / "ordinary.jsonl"
    lines = [json.dumps({"text": ordinary_text(random), "at": at}) for _ in range(count)]
    path.write_text("\n".join(lines))
    return path


def follow(path: Path) -> Result:
    words = ["train", "spam", "--follow", "--window", "1d", "--json"]
    return CliRunner().invoke(main, [*words, "--ordinary", f"{path},time=at"])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path))
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
    assert result.exit_code == 1
    assert failures == []
    rounds = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [one["reason"] for one in rounds] == ["KafkaConnectionError: away", "`spam` is frozen"]
