import numpy as np
import pytest
from hypothesis import given, settings
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
    calibration_bins,
    calibration_error,
    precision_recall_points,
    rank_correlation,
    ranking,
    roc_auc,
    roc_points,
)

# Few distinct scores, so that ties are common; both classes.
SCORED = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans()), min_size=2, max_size=60
).filter(lambda rows: 0 < sum(bad for _, bad in rows) < len(rows))


def arrays(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([bad for _, bad in rows])


@settings(max_examples=25)
@given(SCORED)
def test_order_is_measured_as_scikit_learn_does(rows: list[tuple[float, bool]]) -> None:
    scores, bad = arrays(rows)
    assert np.isclose(roc_auc(scores, bad), roc_auc_score(bad, scores))


@settings(max_examples=25)
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


@settings(max_examples=25)
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
    weights = np.stack([np.ones(1000), 2.0 * bad])  # in the second draw all rows are positive
    for probability, expected in ((0.25, [0, 0.75]), (0.85, [0.6, 0.15])):
        errors = calibration_error(np.full(1000, probability), bad, weights)
        assert errors == pytest.approx(expected)
    assert calibration_error(bad.astype(np.float64), bad, weights).tolist() == [0, 0]


def test_what_has_one_class_has_no_curve() -> None:
    scores, none = np.arange(3.0), np.zeros(3, dtype=np.bool_)
    assert roc_points(scores, none) == []
    assert precision_recall_points(scores, none) == []
    assert roc_auc(scores, none) == 0.5


def test_ranks_equal_scipys_with_ties() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 9, 300).astype(np.float64)
    other = random.integers(0, 5, 300) + scores
    assert np.isclose(rank_correlation(scores, other), spearmanr(scores, other).statistic)


@settings(max_examples=25)
@given(SCORED, st.integers(0, 5))
def test_ranking_counts_a_row_as_often_as_it_is_drawn(
    rows: list[tuple[float, bool]], seed: int
) -> None:
    scores, bad = arrays(rows)
    drawn = np.random.default_rng(seed).integers(0, 4, (3, len(rows)))
    measured = ranking(scores, bad, drawn.astype(np.float64))
    for counts, (auc, precision, recall) in zip(drawn, measured, strict=True):
        repeated, labels = np.repeat(scores, counts), np.repeat(bad, counts)
        if labels.all() or not labels.any():
            assert np.isnan([auc, precision, recall]).all()
            continue
        assert np.isclose(auc, roc_auc_score(labels, repeated))
        assert np.isclose(precision, average_precision_score(labels, repeated))
        allowed = [
            (repeated[labels] >= at).mean()
            for at in [*np.unique(repeated), np.inf]
            if (repeated[~labels] >= at).mean() <= 0.01
        ]
        assert np.isclose(recall, max(allowed))
