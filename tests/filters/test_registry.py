from __future__ import annotations

from pathlib import Path

import pytest

from feedmill.events.errors import BadArtifact
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import BUILT_IN_GATES
from feedmill.filters import registry
from feedmill.filters.registry import FILTERS, load
from feedmill.training.training_data import recipe_of


def test_the_filters_that_ship_write_the_built_in_gates() -> None:
    assert tuple(FILTERS) == BUILT_IN_GATES
    # docs/contracts.md promises the same defaults for every gate.
    assert all(spec.gate == GatePolicy() for spec in FILTERS.values())


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_called_like_its_file(name: str) -> None:
    assert (Path(registry.__file__).parent / f"{name}.py").exists()
    assert FILTERS[name].name == name


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_reads_what_its_recipe_trains_on(name: str) -> None:
    assert recipe_of(FILTERS[name]).evidence == FILTERS[name].evidence


def test_only_spam_pays_for_the_memory_of_near_copies() -> None:
    assert [name for name, spec in FILTERS.items() if spec.reads_near_copies] == ["spam"]


def test_an_unknown_filter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="there are: spam, nsfw, misinformation"):
        load("../spam", tmp_path)
