from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from feedmill.training.evaluation.metrics import (
    average_precision,
    calibration_bins,
    calibration_error,
    common_threshold,
    precision_recall_points,
    rank_correlation,
    recall_at_fpr,
    roc_auc,
    roc_points,
)

# Few distinct scores, so that ties are common; both classes.
SCORED = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans()), min_size=2, max_size=60
).filter(lambda rows: 0 < sum(bad for _, bad in rows) < len(rows))


def arrays(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([bad for _, bad in rows])


@given(SCORED)
def test_order_is_measured_as_scikit_learn_does(rows: list[tuple[float, bool]]) -> None:
    scores, bad = arrays(rows)
    assert np.isclose(roc_auc(scores, bad), roc_auc_score(bad, scores))
    assert np.isclose(average_precision(scores, bad), average_precision_score(bad, scores))


@given(SCORED)
def test_curves_run_where_scikit_learn_draws_them(rows: list[tuple[float, bool]]) -> None:
    scores, bad = arrays(rows)
    across, up, _ = roc_curve(bad, scores, drop_intermediate=False)
    expected = set(zip(across.round(9), up.round(9), strict=True))
    points = roc_points(scores, bad)
    assert {(round(x, 9), round(y, 9)) for x, y in points} <= expected
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    precision, recall, _ = precision_recall_curve(bad, scores)
    expected = set(zip(recall.round(9), precision.round(9), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in precision_recall_points(scores, bad)} <= expected


@given(SCORED, st.integers(2, 20))
def test_calibration_is_binned_as_scikit_learn_does(
    rows: list[tuple[float, bool]], bins: int
) -> None:
    # Off the bins' borders, which the two assign differently.
    scores, bad = arrays([(score * 0.97 + 0.0137, is_bad) for score, is_bad in rows])
    hits, means = calibration_curve(bad, scores, n_bins=bins)
    with_rows = calibration_bins(scores, bad, bins)
    np.testing.assert_allclose([mean for _, mean, _ in with_rows], means)
    np.testing.assert_allclose([hit for _, _, hit in with_rows], hits)
    assert sum(count for count, _, _ in with_rows) == len(rows)


def test_calibration_error_of_the_right_and_of_the_wrong_probability() -> None:
    bad = np.arange(1000) % 4 == 0
    assert calibration_error(np.full(1000, 0.25), bad) == 0
    assert calibration_error(np.full(1000, 0.85), bad) == pytest.approx(0.6)
    assert calibration_error(bad.astype(np.float64), bad) == 0


@given(
    st.lists(
        st.lists(st.integers(0, 9).map(float), min_size=1, max_size=30), min_size=1, max_size=4
    ),
    st.floats(0, 0.5),
)
def test_at_most_the_fraction_lies_above_the_threshold_and_more_above_a_lower_score(
    sources: list[list[float]], fraction: float
) -> None:
    arrays_of = [np.array(source) for source in sources]
    threshold = common_threshold(arrays_of, fraction)

    def above(at: float) -> float:
        return float(np.mean([(source > at).mean() for source in arrays_of]))

    assert above(threshold) <= fraction + 1e-6
    lower = [value for source in sources for value in source if value < threshold]
    assert all(above(value) > fraction - 1e-6 for value in lower)


def test_of_no_ordinary_posts_the_threshold_is_out_of_reach() -> None:
    assert common_threshold([], 0.01) == float("inf")
    assert common_threshold([np.zeros(0)], 0.01) == float("inf")


def test_what_has_one_class_has_no_curve() -> None:
    scores, none = np.arange(3.0), np.zeros(3, dtype=np.bool_)
    assert roc_points(scores, none) == []
    assert precision_recall_points(scores, none) == []
    assert average_precision(scores, none) == 0.0


def test_ranks_equal_scipys_with_ties() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 9, 300).astype(np.float64)
    other = random.integers(0, 5, 300) + scores
    assert np.isclose(rank_correlation(scores, other), spearmanr(scores, other).statistic)


def test_recall_at_a_fraction_of_false_positives() -> None:
    scores = np.arange(100.0)
    positive = scores >= 95
    assert recall_at_fpr(scores, positive, 0.01) == 1.0
    assert roc_auc(scores, positive) == 1.0
    assert recall_at_fpr(scores, np.ones(100, dtype=np.bool_), 0.01) == 0.0
