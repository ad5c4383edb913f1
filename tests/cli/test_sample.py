"""A sample is made, a filter is trained on it, and the two versions are told apart."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feedmill.cli.main import main
from feedmill.filters.spec import STORE
from feedmill.models.artifact import read_card

TRAIN = (
    "train spam --data sample/labelled.csv,text=body,label=kind,positive=junk,group=author"
    " --ordinary sample/ordinary.jsonl,group=author --out models --day 2026-01-01"
)


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEEDMILL_MODELS", raising=False)
    return tmp_path


def test_the_same_seed_makes_the_same_files(user: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run(f"sample {folder} --seed {seed}").exit_code == 0
    names = ("labelled.csv", "ordinary.jsonl", "posts.jsonl", "domains.txt")
    assert {path.name for path in (user / "a").iterdir()} == set(names)
    for name in names:
        assert (user / "a" / name).read_bytes() == (user / "b" / name).read_bytes()
    assert (user / "a/posts.jsonl").read_bytes() != (user / "c/posts.jsonl").read_bytes()


def test_training_says_how_good_the_model_is_and_how_to_release_it(user: Path) -> None:
    run("sample")
    trained = run(TRAIN)
    assert trained.exit_code == 0, trained.output
    card, shipped = read_card(user / "models", "spam"), read_card(STORE, "spam")
    auc = card.metrics["labelled.unseen.auc"]
    # Some labels are wrong, and a model that had not learned them cannot know which.
    assert 0.9 < auc < 0.999
    lines = trained.output.splitlines()
    figures = next(line for line in lines if line.startswith("labelled  AUC")).split()
    assert figures[2] == f"{auc:.4f}"
    assert float(figures[3]) < auc
    assert any(f"shipped {shipped.version}" in line for line in lines)
    assert lines[-3].startswith("it is in the store and not in force: no worker runs it")
    assert lines[-1].startswith("    FEEDMILL_MODELS=models ")
    assert lines[-1].endswith(f"feedmill models release spam {card.version}")

    compared = CliRunner(env={"FEEDMILL_MODELS": "models"}).invoke(
        main, ["models", "diff", "spam", "shipped", card.version, "--json"]
    )
    assert compared.exit_code == 0, compared.output
    of_both = {one["name"]: one for one in json.loads(compared.output)["metrics"]}
    assert of_both["labelled.unseen.auc"]["new"] == auc
    assert f"{of_both['labelled.unseen.auc']['old']:.4f}" == figures[3]
    assert of_both["ordinary.validation.hidden"]["old"] is not None

    versions = [
        {json.loads(line)["version"] for line in run(f"score spam {words}").output.splitlines()}
        for words in (
            "sample/posts.jsonl --model models",
            f"sample/posts.jsonl --model models --version {card.version}",
            f"sample/posts.jsonl --model models --version {shipped.version}",
        )
    ]
    assert versions == [{card.version}, {card.version}, {shipped.version}]
