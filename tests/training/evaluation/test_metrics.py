import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from feedmill.training.evaluation.metrics import calibration_error, ranking

# Few distinct scores, so that ties are common; both classes.
SCORED = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans()), min_size=2, max_size=60
).filter(lambda rows: 0 < sum(bad for _, bad in rows) < len(rows))


def arrays(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([bad for _, bad in rows])


def test_calibration_error_of_the_right_and_of_the_wrong_probability() -> None:
    bad = np.arange(1000) % 4 == 0
    weights = np.stack([np.ones(1000), 2.0 * bad])  # in the second draw all rows are positive
    for probability, expected in ((0.25, [0, 0.75]), (0.85, [0.6, 0.15])):
        errors = calibration_error(np.full(1000, probability), bad, weights)
        assert errors == pytest.approx(expected)
    assert calibration_error(bad.astype(np.float64), bad, weights).tolist() == [0, 0]


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
