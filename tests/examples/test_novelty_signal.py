"""How new a post is: the memory of the example, without Kafka."""

from types import ModuleType

import pytest

from builders.examples import load_example


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("FEEDMILL_SIGNALS", "novelty:objective")
    module: ModuleType = load_example("novelty_signal", monkeypatch)
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
