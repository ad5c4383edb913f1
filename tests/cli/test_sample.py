"""A sample is made, a filter is trained on it, and the two versions are told apart."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feedmill.cli.main import main
from feedmill.filters.model import STORE
from feedmill.models.artifact import read_card

TRAIN = (
    "train spam --data sample/labelled.csv,text=body,label=kind,positive=junk,group=author"
    " --ordinary sample/ordinary.jsonl,group=author --out models --day 2026-01-01"
)


EXPERIMENT = ("tune.json", "tune-record.json", "tune-users.csv")


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
    names = ("labelled.csv", "ordinary.jsonl", "posts.jsonl", "domains.txt", *EXPERIMENT)
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
    # The shipped one learned other files, on which the new one was not measured.
    shown = CliRunner(env={"FEEDMILL_MODELS": "models"}).invoke(
        main, ["models", "diff", "spam", "shipped", card.version]
    )
    assert "an empty place: the version learned these rows itself, or the store" in shown.output
    assert "an empty place" not in trained.output
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


def test_the_ordinary_posts_of_the_sample_are_enough_to_follow_labels(user: Path) -> None:
    run("sample")
    follow = "train spam --follow --ordinary sample/ordinary.jsonl,author=author,time=time"
    (user / "models").mkdir()
    began = CliRunner(env={"FEEDMILL_MODELS": "models"}).invoke(
        main, [*shlex.split(follow), "--kafka", "127.0.0.1:1"]
    )
    # It goes as far as to the topics, which are not there.
    assert "ordinary posts are the reference" in began.stderr
    assert "Kafka at 127.0.0.1:1: cannot connect" in began.stderr
