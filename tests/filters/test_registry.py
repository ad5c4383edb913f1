from pathlib import Path

import pytest

from builders.grown_tree import grow_tree, run_python
from feedmill.events.built_in import BUILT_IN_GATES
from feedmill.events.errors import BadArtifact
from feedmill.events.gates import GatePolicy
from feedmill.filters import registry
from feedmill.filters.registry import FILTERS, load
from feedmill.training.training_data import recipe_of


def test_every_built_in_gate_has_its_filter_and_the_promised_defaults() -> None:
    assert tuple(FILTERS) == BUILT_IN_GATES
    # docs/contracts.md promises the same defaults for every built-in gate.
    assert all(FILTERS[name].gate == GatePolicy() for name in BUILT_IN_GATES)


FILE = """
from feedmill.filters.model import Evidence, FilterSpec

FILTER = FilterSpec("pills", Evidence(views=("text",)), recipe="linear")
"""
ASK = """
from feedmill.events.label import LABEL_TARGETS
from feedmill.events.settings import Settings, check_key
from feedmill.filters.registry import FILTERS
from feedmill.streams.environment import read_environment
from feedmill.training.training_data import recipe_of

names = read_environment({}).signals
check_key("rules/pills", names)
print("pills" in LABEL_TARGETS, names.gates, names.filters, names.own)
print(Settings(names).gates_of("")["pills"].hide_at, recipe_of(FILTERS["pills"]).evidence.views)
"""


def test_a_new_built_in_filter_is_its_file_and_a_line_of_one_list(tmp_path: Path) -> None:
    line = {"events/built_in.py": ('    "misinformation",\n', '    "pills",\n')}
    tree = grow_tree(tmp_path, {"filters/pills.py": FILE}, line)
    every = (*BUILT_IN_GATES, "pills")
    assert run_python(tree, "-c", ASK) == f"True {every} {every} ()\n0.9 ('text',)\n"


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
