from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import ndcg_score

from feedmill.training.evaluation.ranker_metrics import (
    log_loss,
    ndcg,
    rate_calibration,
    rate_calibration_error,
    slope_within,
    within_group_correlations,
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
    bins = rate_calibration(rates, rates, weights)
    assert len(bins) == 10
    assert sum(weight for weight, _, _ in bins) == pytest.approx(weights.sum())


def test_order_between_groups_does_not_count_within_them() -> None:
    groups = np.repeat(["a", "b", "few"], [30, 30, 5])
    truth = np.concatenate([np.arange(30), 1_000 + np.arange(30), np.arange(5)]) * 1.0
    inverse = np.where(groups == "a", -truth, 5_000 - truth)
    np.testing.assert_allclose(within_group_correlations(inverse, truth, groups), [-1, -1])
    assert within_group_correlations(truth, truth, groups, least_rows=5).shape == (3,)
    assert within_group_correlations(truth[:0], truth[:0], groups[:0]).shape == (0,)


def test_the_slope_is_that_within_groups() -> None:
    groups = np.repeat(["a", "b"], 50)
    scores = RANDOM.normal(size=100)
    truth = 2 * scores + np.where(groups == "a", 0, 100)
    shifted = scores - np.where(groups == "a", 0, 9)
    weights = RANDOM.uniform(1, 2, 100)
    assert slope_within(shifted, truth, weights, groups) == pytest.approx(2)
    assert slope_within(np.zeros(100), truth, weights, groups) == 0


def test_ndcg_is_scikit_learns_ties_included() -> None:
    for _ in range(50):
        scores = RANDOM.integers(0, 6, 30).astype(np.float64)
        gains = RANDOM.integers(0, 4, 30).astype(np.float64)
        expected = ndcg_score([gains], [scores], k=10)
        assert ndcg(scores, gains) == pytest.approx(expected)
    assert ndcg(np.ones(3), np.zeros(3)) == 0
    assert ndcg(np.array([2.0, 1.0]), np.array([3.0, 1.0])) == pytest.approx(1)
