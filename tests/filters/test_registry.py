from pathlib import Path

import pytest

from feedmill.events.errors import BadArtifact
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import BUILT_IN_GATES
from feedmill.filters import registry
from feedmill.filters.registry import FILTERS, load
from feedmill.training.training_data import recipe_of


def test_every_built_in_gate_has_its_filter_and_the_promised_defaults() -> None:
    assert tuple(FILTERS)[: len(BUILT_IN_GATES)] == BUILT_IN_GATES
    # docs/contracts.md promises the same defaults for every built-in gate.
    assert all(FILTERS[name].gate == GatePolicy() for name in BUILT_IN_GATES)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_called_like_its_file(name: str) -> None:
    assert (Path(registry.__file__).parent / f"{name}.py").exists()
    assert FILTERS[name].name == name


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_reads_what_its_recipe_trains_on(name: str) -> None:
    assert recipe_of(FILTERS[name]).evidence == FILTERS[name].evidence


def test_of_the_built_in_filters_only_spam_pays_for_the_memory_of_near_copies() -> None:
    assert [name for name in BUILT_IN_GATES if FILTERS[name].reads_near_copies] == ["spam"]


def test_an_unknown_filter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="there are: spam, nsfw, misinformation"):
        load("../spam", tmp_path)
