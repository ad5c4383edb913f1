from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feedmill.events.post import Post
from feedmill.features.corpus import Corpus, Row, corpus
from feedmill.filters import train as trainer
from feedmill.filters.recipes import RECIPES
from feedmill.filters.registry import load

WORDS = (
    "river",
    "stone",
    "cloud",
    "apple",
    "winter",
    "garden",
    "letter",
    "music",
    "train",
    "coffee",
)


def _sentences(count: int, seed: int, extra: str = "") -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join([*random.choice(WORDS, 8), extra, str(i)]) for i in range(count)]


def _letters(texts: list[str]) -> list[str]:
    """Make the texts differ in more than digits, which count as one."""
    return [
        f"{text} {'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}" for i, text in enumerate(texts)
    ]


def _generated() -> trainer.Material:
    bad = _letters(_sentences(150, 1, "BUY cheap pills NOW!!!"))
    good = _letters(_sentences(150, 2))
    rows = [Row(t, 1.0, f"g{i % 30}") for i, t in enumerate(bad)]
    rows += [Row(t, 0.0, f"g{i % 30}") for i, t in enumerate(good)]
    clean: tuple[Corpus, ...] = tuple(
        corpus(name, name, (Row(t, 0.0, f"a{i % 30}") for i, t in enumerate(_letters(texts))))
        for name, texts in (("one", _sentences(300, 3)), ("two", _sentences(300, 4, "today")))
    )
    return trainer.Material((corpus("bad", "bad", rows), corpus("few", "few", rows[::7])), clean)


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> None:
    material = _generated()
    monkeypatch.setattr(trainer, "material", lambda recipe, folder: material)


@pytest.mark.usefixtures("generated")
def test_the_same_data_give_the_same_sha256_and_a_model_that_learned(tmp_path: Path) -> None:
    first = trainer.train("spam", Path(), tmp_path / "a", "2026-01-01")
    second = trainer.train("spam", Path(), tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    assert first.metrics == second.metrics
    assert first.metrics["bad.auc"] > 0.95
    assert first.metrics["one.hidden"] <= 0.05
    assert first.metrics["trained_without_bad.auc"] > 0.5
    texts = ["river stone BUY cheap pills NOW!!!", "river stone cloud apple"]
    scores = load("spam", tmp_path / "a").score_many([Post("p", "a", 1, text) for text in texts])
    assert scores[0] > scores[1]


def test_what_is_for_research_only_is_in_no_recipe() -> None:
    files = [source.file for recipe in RECIPES.values() for source in recipe.sources]
    assert not any(word in file for file in files for word in ("liar", "mind"))
