"""Rankers trained once on generated data sets, and models that only repeat what they learned."""

from pathlib import Path

import pytest

from builders.leaks import parrots  # noqa: F401 a fixture
from builders.ranker_datasets import (
    write_headline_tests,
    write_quality_datasets,
    write_reactions,
)
from feedmill.training.trainers import engagement, quality


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
