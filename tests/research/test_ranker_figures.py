import numpy as np
import pytest
from ranker_figures import (
    calibration_figure,
    correlation_figures,
    group_figure,
    length_slices,
    mean_figures,
    ndcg,
    slope_figure,
    within_group_correlations,
)
from sklearn.metrics import ndcg_score

from feedmill.training.evaluation.intervals import Bootstrap
from feedmill.training.evaluation.metrics import rank_correlation
from feedmill.training.evaluation.ranker_metrics import rate_calibration_error, slope_within

RANDOM = np.random.default_rng(2)
GROUPS = [f"g{i // 5}" for i in range(500)]


def test_means_and_their_differences_are_paired() -> None:
    noise = RANDOM.normal(size=500) * 5
    ours, theirs = noise + 1, noise
    weights = RANDOM.uniform(1, 2, 500)
    mine, _, gap = mean_figures(Bootstrap(GROUPS), [ours, theirs, ours - theirs], weights)
    assert mine.value == pytest.approx(float(np.average(ours, weights=weights)))
    assert mine.low < mine.value < mine.high
    assert (gap.low, gap.high) == pytest.approx((1, 1))


def test_correlations_are_spearmans_and_the_better_one_has_a_gap_above_zero() -> None:
    truth = RANDOM.normal(size=500)
    good, poor = truth + RANDOM.normal(size=500), truth + 9 * RANDOM.normal(size=500)
    first, second, gap = correlation_figures(Bootstrap(GROUPS), [good, poor], truth)
    assert first.value == pytest.approx(rank_correlation(good, truth), abs=1e-6)
    assert second.low < rank_correlation(poor, truth) < second.high
    assert 0 < gap.low < first.value - second.value < gap.high


def test_the_interval_of_a_slope_holds_the_slope_that_was_planted() -> None:
    random = np.random.default_rng(3)
    groups = np.array(GROUPS)
    scores = random.normal(size=500) + 5 * random.normal(size=100)[np.arange(500) // 5]
    truth = 2 * scores + random.normal(size=500)
    truth += 9 * random.normal(size=100)[np.arange(500) // 5]  # what a group has is no slope
    weights = random.uniform(1, 2, 500)
    figure = slope_figure(scores, truth, weights, groups)
    assert figure.value == pytest.approx(slope_within(scores, truth, weights, groups))
    assert 1.8 < figure.low < 2 < figure.high < 2.2


def test_the_interval_of_a_calibration_error_holds_the_error_that_was_planted() -> None:
    random = np.random.default_rng(4)
    truth = random.uniform(0.01, 0.03, 500)
    rates = random.binomial(4_000, truth) / 4_000
    weights = np.full(500, 4_000.0)
    honest = calibration_figure(Bootstrap(GROUPS), truth, rates, weights)
    assert honest.value == pytest.approx(
        rate_calibration_error(truth, rates, weights) / rates.mean()
    )
    assert honest.low <= honest.value <= honest.high < 0.05
    wrong = calibration_figure(Bootstrap(GROUPS), truth * 1.3, rates, weights)
    assert 0.25 < wrong.low < 0.3 < wrong.high < 0.35


def test_groups_count_alike() -> None:
    figure = group_figure(np.array([0.1] * 30 + [0.3] * 30))
    assert figure.value == pytest.approx(0.2)
    assert 0.15 < figure.low < 0.2 < figure.high < 0.25


def test_every_text_has_one_length() -> None:
    texts = ["x" * n for n in (1, 60, 61, 100, 101, 399, 2_000)]
    masks = [mask for _, mask in length_slices(texts)]
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    assert length_slices(texts)[0][0] == "1 to 60 characters"


def test_order_between_groups_does_not_count_within_them() -> None:
    groups = np.repeat(["a", "b", "few"], [30, 30, 5])
    truth = np.concatenate([np.arange(30), 1_000 + np.arange(30), np.arange(5)]) * 1.0
    inverse = np.where(groups == "a", -truth, 5_000 - truth)
    np.testing.assert_allclose(within_group_correlations(inverse, truth, groups), [-1, -1])
    assert within_group_correlations(truth, truth, groups, least_rows=5).shape == (3,)
    assert within_group_correlations(truth[:0], truth[:0], groups[:0]).shape == (0,)


def test_ndcg_is_scikit_learns_ties_included() -> None:
    for _ in range(50):
        scores = RANDOM.integers(0, 6, 30).astype(np.float64)
        gains = RANDOM.integers(0, 4, 30).astype(np.float64)
        expected = ndcg_score([gains], [scores], k=10)
        assert ndcg(scores, gains) == pytest.approx(expected)
    assert ndcg(np.ones(3), np.zeros(3)) == 0
    assert ndcg(np.array([2.0, 1.0]), np.array([3.0, 1.0])) == pytest.approx(1)
