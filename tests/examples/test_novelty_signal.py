"""How new a post is: the memory of the example, without Kafka."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "novelty_signal.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("FEEDMILL_SIGNALS", "novelty:objective")
    spec = importlib.util.spec_from_file_location("example_novelty_signal", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_only_what_is_new_counts(example: ModuleType) -> None:
    memory = example.Novelty()
    assert memory.score("the cat sat on the mat") == 1.0
    assert memory.score("The cat, sat on the mat!") == 0.0
    # Of its five pairs `on a` and `a mat` are new.
    assert memory.score("the cat sat on a mat") == pytest.approx(2 / 5)
    assert memory.score("word") == memory.score("") == 0.0


def test_a_pair_is_forgotten_after_two_filters_without_it(example: ModuleType) -> None:
    memory = example.Novelty(posts_per_filter=3)
    memory.score("old news")
    scores = [memory.score(f"some{i} thing{i}") for i in range(4)]
    assert scores == [1.0] * 4
    assert memory.score("old news") == 0.0  # the fifth post after it, within the older filter
    for i in range(10, 16):
        memory.score(f"some{i} thing{i}")
    assert memory.score("old news") == 1.0


def test_distinct_pairs_share_few_cells(example: ModuleType) -> None:
    cells = example.word_pair_cells(" ".join(f"w{i}" for i in range(2001)))
    assert cells.shape == (2, 2000)
    assert len(set(zip(*cells.tolist(), strict=True))) == 2000
