"""`feedmill train engagement --follow` without Kafka: what it needs, and what it releases."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders.impression_simulation import Size, simulated_impressions
from builders.model_store import shipped_store
from feedmill.cli import train_follow
from feedmill.cli.main import main
from feedmill.cli.train_from_topics import CountedTopics
from feedmill.events.errors import UsageError
from feedmill.events.release import ModelRelease
from feedmill.models.artifact import ModelCard, find_card, read_card
from feedmill.operations.changes import MadeBy
from feedmill.training.continual.challenger import ChallengeResult
from feedmill.training.datasets.snapshots import save_impressions
from feedmill.training.fitting.engagement import FittedEngagement, fit_impressions
from feedmill.training.recipes import ENGAGEMENT

SIZE = Size(posts=400, authors=300, users=500, impressions=12)
OLD = simulated_impressions("none", 1, SIZE)


class History:
    """No release, and not frozen."""

    def check_not_frozen(self, name: str) -> None:
        assert name == "engagement"

    def current(self, name: str) -> None:
        assert name == "engagement"

    def rows(self, name: str) -> tuple[()]:
        assert name == "engagement"
        return ()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shipped_store(tmp_path / "store")
    monkeypatch.setenv("FEEDMILL_MODELS", str(folder))
    monkeypatch.setenv("FEEDMILL_KAFKA", "127.0.0.1:1")
    monkeypatch.setattr(train_follow, "read_history", lambda _: History())
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return folder


def reference_of(folder: Path, rows: Any = OLD) -> Path:
    return folder / "snapshots" / f"{save_impressions(folder, rows).sha256}.parquet"


def follow(reference: Path) -> Result:
    words = ["train", "engagement", "--follow", "--json", "--ordinary", str(reference)]
    return CliRunner().invoke(main, words)


def rounds_of(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_the_reference_is_older_than_the_window_and_large_enough(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = follow(reference_of(store, simulated_impressions("none", 1, Size(100, 9, 99, 9))))
    assert few.exit_code == 1
    assert "--follow needs 3,000 impressions that are older than the window" in few.stderr
    start_ms = int(OLD.at_ms.min())
    monkeypatch.setattr(train_follow, "now_ms", lambda: start_ms)
    assert "found 0; name an earlier or a larger snapshot" in follow(reference_of(store)).stderr


def test_a_better_challenger_is_saved_and_released_and_not_installed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = read_card(store, "engagement").version
    counted = [CountedTopics(OLD, {"impressions too late": 7}, 0, [])]

    def read(_environment: Any, wait_ms: int, _since_ms: int) -> CountedTopics:
        assert wait_ms == 86_400_000
        if not counted:
            raise KeyboardInterrupt
        return counted.pop()

    def challenge(*_: Any) -> ChallengeResult[FittedEngagement]:
        fitted = fit_impressions(ENGAGEMENT, OLD)
        return ChallengeResult("", 9, 200.0, 300.0, fitted=fitted)

    released: list[tuple[str, str]] = []

    def tried(_environment: Any, card: ModelCard, by: str, note: str) -> ModelRelease:
        released.append((card.version, f"{by}: {note}"))
        return ModelRelease(card.sha256, (), by, note)

    monkeypatch.setattr(train_follow, "read_impressions", read)
    monkeypatch.setattr(train_follow, "challenge", challenge)
    monkeypatch.setattr(train_follow, "tried_release", tried)
    audited: list[MadeBy] = []
    monkeypatch.setattr(
        train_follow, "send_record", lambda *given: audited.append(given[1].made_by)
    )
    (found,) = rounds_of(follow(reference_of(store)))
    assert (found["reason"], found["champion"]) == ("released", installed)
    assert (found["bets"], found["better"], found["not_worse"]) == (9, 200, 300)
    assert found["impressions"] == len(OLD)
    assert found["left_out"] == {"impressions too late": 7}
    note = f"train --follow: better than {installed}: e-value 200 of 9 bets"
    assert released == [(found["challenger"], note)]
    [said] = audited
    assert (f"{said.by}: {said.note}", said.command) == (note, "train")
    assert read_card(store, "engagement").version == installed
    card = find_card(store, "engagement", found["challenger"])
    assert card.metrics["better"] == 200
    assert card.parameters["window_ms"] == 7 * 86_400_000
    assert card.data[0].snapshot is not None


def test_while_the_model_is_frozen_nothing_is_read(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [UsageError("`engagement` is frozen"), KeyboardInterrupt()]

    def check(_name: str) -> None:
        raise answers.pop(0)

    frozen = SimpleNamespace(check_not_frozen=check)
    monkeypatch.setattr(train_follow, "read_history", lambda _: frozen)
    found = rounds_of(follow(reference_of(store)))
    assert [one["reason"] for one in found] == ["`engagement` is frozen"]
