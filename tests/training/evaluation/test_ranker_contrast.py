"""Headlines that are high on one signal and low on the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.ranker_datasets import (
    write_headline_tests,
    write_quality_datasets,
    write_reactions,
)
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load
from feedmill.training.datasets.ratings import WEBIS
from feedmill.training.evaluation.ranker_contrast import evaluate_contrast
from feedmill.training.evaluation.ranker_report import RankerEvaluation
from feedmill.training.trainers import engagement, quality


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_quality_datasets(folder)
    write_headline_tests(folder, by_text=True)
    write_reactions(folder)
    quality.train(folder, folder / "store", "2026-01-01")
    engagement.train(folder, folder / "store", "2026-01-01")
    return folder


def test_only_rows_that_are_rated_poorly_or_clicked_more_are_shown(folder: Path) -> None:
    one, other = load("quality", folder / "store"), load("engagement", folder / "store")
    assert isinstance(one, QualityModel)
    assert isinstance(other, ExpectedClicks)
    evaluation = RankerEvaluation("engagement", None)
    evaluate_contrast(folder, one, other, evaluation)
    rated, clicked = evaluation.sections
    test = WEBIS.load(folder).split("test")
    ratings = dict(zip((post.post_id for post in test.posts), test.labels, strict=True))
    assert 0 < len(rated.rows) <= 8
    for row in rated.rows:
        assert ratings[row[0]] < 0.5
        assert row[1] == f"{ratings[row[0]]:.3f}"
    gaps = [float(row[3][:-1]) - float(row[5][:-1]) for row in rated.rows]
    # Each of the two places is rounded to a percent.
    assert gaps == pytest.approx(sorted(gaps, reverse=True), abs=2)
    assert gaps[0] > 20
    # Better arms have a click rate of 2 %, the others of 1 %.
    assert all(float(row[1]) > 0.014 for row in clicked.rows)
    assert "wonderful" not in f"{evaluation.sections}"
