from pathlib import Path

import pytest

from feedmill.events.signal import SignalNames, stage_of
from feedmill.models.artifact import read_card
from feedmill.rankers import registry
from feedmill.rankers.registry import RANKERS, load
from feedmill.rankers.spec import STORE
from feedmill.training.trainers.registry import TRAINERS


def test_every_built_in_objective_and_cost_has_the_ranker_that_writes_it() -> None:
    names = SignalNames()
    assert {stage_of(name) for name in (*names.objectives, *names.costs)} <= set(RANKERS)


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
