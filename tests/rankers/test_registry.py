import subprocess
import sys
from pathlib import Path

import pytest

from feedmill.events.errors import BadArtifact
from feedmill.events.signal import BUILT_IN_OBJECTIVES
from feedmill.models.artifact import read_card
from feedmill.rankers import registry
from feedmill.rankers.registry import RANKERS, load
from feedmill.rankers.spec import STORE
from feedmill.training.trainers.registry import TRAINERS


def test_every_built_in_objective_has_its_ranker() -> None:
    assert set(BUILT_IN_OBJECTIVES) <= set(RANKERS)


@pytest.mark.parametrize("name", RANKERS)
def test_a_ranker_and_its_trainer_are_called_like_its_file(name: str) -> None:
    assert (Path(registry.__file__).parent / f"{name}.py").exists()
    assert RANKERS[name].name == name
    assert name in TRAINERS


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
