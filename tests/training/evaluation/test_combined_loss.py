from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from builders.ranker_datasets import write_headline_tests, write_quality_datasets
from feedmill.training.evaluation import combined_loss
from feedmill.training.evaluation.combined_loss import compare, fit, page
from feedmill.training.evaluation.intervals import Figure

RANDOM = np.random.default_rng(4)
ROWS = RANDOM.normal(size=(600, 3))
TARGETS = ROWS[:, 0] + RANDOM.normal(size=600)
WEIGHTS = RANDOM.uniform(0.5, 2, 600)


def test_the_loss_is_lightgbms_weighted_squared_loss() -> None:
    data = lightgbm.Dataset(ROWS, label=TARGETS, weight=WEIGHTS)
    settings = {**combined_loss._SETTINGS, "objective": "regression", "boost_from_average": False}
    oracle = lightgbm.train(settings, data, num_boost_round=20)
    model = fit(ROWS, TARGETS, WEIGHTS, 20)
    np.testing.assert_allclose(model.predict(ROWS), oracle.predict(ROWS), rtol=1e-5, atol=1e-6)


def test_a_masked_target_teaches_nothing() -> None:
    masked = np.arange(600) % 2 == 0
    weights = np.where(masked, 0.0, WEIGHTS)
    model = fit(ROWS, TARGETS, weights, 20)
    other = fit(ROWS, np.where(masked, 1e3, TARGETS), weights, 20)
    np.testing.assert_array_equal(model.predict(ROWS), other.predict(ROWS))
    assert np.corrcoef(model.predict(ROWS), ROWS[:, 0])[0, 1] > 0.7


def test_each_model_of_the_pair_learns_its_own_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combined_loss, "WEIGHTS", ((0.9, 0.1), (0.1, 0.9)))
    write_quality_datasets(tmp_path)
    write_headline_tests(tmp_path, by_text=True)
    found = {one.name: one.figures for one in compare(tmp_path, lambda: 0.0)}
    webis, semeval, pairs = (figure.value for figure in found["quality of the pair alone"])
    assert min(webis, semeval) > 0.7
    assert pairs < 0.8
    assert found["engagement of the pair alone"][2].value > 0.9
    names = ["pair, 0.9 quality + 0.1 engagement", "one model, 0.9 quality + 0.1 engagement"]
    assert [*found][:2] == names
    for name in names:
        assert found[name][0].value > 0.7


def test_the_page_has_a_row_for_each_model() -> None:
    figures = [Figure(0.5, 0.4, 0.6)] * 3
    text = page([combined_loss.Compared("pair, 1 quality + 2 engagement", figures, 0.001)])
    assert "| pair, 1 quality + 2 engagement | 0.500 (0.400 to 0.600) |" in text
    assert "| 1.00 ms |" in text
