from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders.events import posts_of
from feedmill.events.errors import BadArtifact
from feedmill.events.signal import BUILT_IN_OBJECTIVES
from feedmill.models.artifact import read_card
from feedmill.models.text_model import StackedTextModel
from feedmill.rankers import registry
from feedmill.rankers.registry import RANKERS, load
from feedmill.rankers.spec import STORE
from feedmill.training.trainers.registry import TRAINERS

# Written for this test; none comes from a data set.
BAIT = ["You Won't Believe What This Mom Did Next!", "21 Things Only Cat People Will Understand"]

PLAIN = [
    "The council approved the new budget on Tuesday after a debate of two hours.",
    "Scientists at the institute measured the temperature of the lake for ten years.",
]

EDGE = ["", " ", "a", "😀" * 40, "x" * 20_000, "日本語のテキスト"]


def quality() -> StackedTextModel:
    model = load("quality")
    assert isinstance(model, StackedTextModel)
    return model


def test_every_built_in_objective_has_its_ranker() -> None:
    assert set(BUILT_IN_OBJECTIVES) <= set(RANKERS)


@pytest.mark.parametrize("name", RANKERS)
def test_a_ranker_and_its_trainer_are_called_like_its_file(name: str) -> None:
    assert (Path(registry.__file__).parent / f"{name}.py").exists()
    assert RANKERS[name].name == name
    assert name in TRAINERS


def test_quality_is_of_each_row_alone_and_in_range() -> None:
    model = quality()
    many = posts_of([*BAIT, *PLAIN, *EDGE])
    scores = model.score_many(many)
    assert scores.shape == (len(many),)
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_array_equal(scores, np.concatenate([model.score_many([p]) for p in many]))


def test_bait_reads_worse_than_plain_news() -> None:
    model = quality()
    assert model.score_many(posts_of(BAIT)).max() < model.score_many(posts_of(PLAIN)).min()


@pytest.mark.parametrize("name", RANKERS)
def test_name_and_version_are_the_cards(name: str) -> None:
    model, card = load(name), read_card(STORE, name)
    assert (model.name, model.version) == (name, card.sha256[:12])
    assert not any("liar" in use.file or "mind" in use.file for use in card.data)


@pytest.mark.parametrize("name", RANKERS)
def test_an_altered_artifact_is_refused(name: str, tmp_path: Path) -> None:
    card = read_card(STORE, name)
    (tmp_path / f"{name}.json").write_bytes((STORE / f"{name}.json").read_bytes())
    content = (STORE / f"{card.sha256}.npz").read_bytes()
    (tmp_path / f"{card.sha256}.npz").write_bytes(content[:-9] + b"123456789")
    with pytest.raises(BadArtifact, match="altered"):
        load(name, tmp_path)


def test_loading_brings_no_training_library() -> None:
    code = (
        "import sys; from feedmill.rankers.registry import load; load('quality'); "
        "load('engagement');"
        "print([m for m in ('lightgbm', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
