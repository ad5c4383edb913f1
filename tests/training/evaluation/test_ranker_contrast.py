"""Headlines that are high on one signal and low on the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load
from feedmill.training.datasets.ratings import WEBIS
from feedmill.training.evaluation.ranker_contrast import evaluate_contrast
from feedmill.training.evaluation.ranker_report import RankerEvaluation


def test_only_rows_that_are_rated_poorly_or_clicked_more_are_shown(ranker_folder: Path) -> None:
    one, other = (
        load("quality", ranker_folder / "store"),
        load("engagement", ranker_folder / "store"),
    )
    assert isinstance(one, QualityModel)
    assert isinstance(other, ExpectedClicks)
    evaluation = RankerEvaluation("engagement", None)
    evaluate_contrast(ranker_folder, one, other, evaluation)
    rated, clicked = evaluation.sections
    test = WEBIS.load(ranker_folder).split("test")
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
