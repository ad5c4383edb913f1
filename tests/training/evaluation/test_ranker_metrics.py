import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from feedmill.training.evaluation.ranker_metrics import (
    log_loss,
    rate_calibration_error,
    slope_within,
)

RANDOM = np.random.default_rng(3)


def test_log_loss_is_that_of_each_impression() -> None:
    predicted, clicks, shown = np.array([0.2, 0.6]), np.array([1, 2]), np.array([4, 3])
    single = np.repeat(predicted, shown)
    labels = np.concatenate([np.arange(n) < c for c, n in zip(clicks, shown, strict=True)])
    expected = sklearn_log_loss(labels, single)
    assert log_loss(predicted, clicks / shown, shown * 1.0) == pytest.approx(expected)


def test_calibration_error_is_zero_where_each_bin_has_its_rate_and_else_the_gap() -> None:
    rates = np.linspace(0.01, 0.05, 200)
    weights = RANDOM.uniform(1, 9, 200)
    assert rate_calibration_error(rates, rates, weights) == pytest.approx(0, abs=1e-12)
    assert rate_calibration_error(rates + 0.01, rates, weights) == pytest.approx(0.01)
    assert rate_calibration_error(rates * 2, rates, weights) == pytest.approx(
        float(weights @ rates / weights.sum())
    )
    same = np.full(200, 0.03)
    gap = abs(0.03 - float(weights @ rates / weights.sum()))
    assert rate_calibration_error(same, rates, weights) == pytest.approx(gap)


def test_the_slope_is_that_within_groups() -> None:
    groups = np.repeat(["a", "b"], 50)
    scores = RANDOM.normal(size=100)
    truth = 2 * scores + np.where(groups == "a", 0, 100)
    shifted = scores - np.where(groups == "a", 0, 9)
    weights = RANDOM.uniform(1, 2, 100)
    assert slope_within(shifted, truth, weights, groups) == pytest.approx(2)
    assert slope_within(np.zeros(100), truth, weights, groups) == 0
