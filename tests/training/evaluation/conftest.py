"""Models that only repeat what they learned, and rankers trained once on generated data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from builders.leaks import FittedParrot, Parrot
from builders.ranker_datasets import (
    write_headline_tests,
    write_quality_datasets,
    write_reactions,
)
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation import cross_validation
from feedmill.training.trainers import engagement, quality


@pytest.fixture
def parrots(monkeypatch: pytest.MonkeyPatch) -> list[Parrot]:
    """The models that an evaluation trains, in order."""
    trained: list[Parrot] = []

    def fit(
        recipe: object, labelled: Sequence[LabelledPosts], ordinary: Sequence[LabelledPosts]
    ) -> FittedParrot:
        trained.append(Parrot([*labelled, *ordinary]))
        return FittedParrot(trained[-1])

    monkeypatch.setattr(cross_validation, "fit", fit)
    return trained


@pytest.fixture(scope="session")
def ranker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of both rankers in which a word decides; the rankers that they train in `store`."""
    folder = tmp_path_factory.mktemp("data")
    write_quality_datasets(folder)
    write_headline_tests(folder, by_text=True)
    write_reactions(folder)
    quality.train(folder, folder / "store", "2026-01-01")
    engagement.train(folder, folder / "store", "2026-01-01")
    return folder
