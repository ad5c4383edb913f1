import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from builders.training_data import sentences
from feedmill.features.text.ngrams import TextBatch
from feedmill.training.arrays import Values
from feedmill.training.fitting.ngram_models import (
    SEED,
    count_matrix,
    fit_logistic,
    fit_ridge,
    inverse_frequency,
)

TEXTS = [*sentences(60, 1, "amber lantern"), *sentences(60, 2, "copper meadow")]
LABELS = np.repeat([1.0, 0.0], 60)
WEIGHTS = np.linspace(0.5, 2.0, 120)


def assert_is(found: Values, weights: Values) -> None:
    """Whether weights are others within the steps to which they are rounded."""
    assert np.abs(found - weights).max() <= np.abs(weights).max() / 4095


def test_weights_are_those_of_a_fit_on_all_columns() -> None:
    matrix = count_matrix(TextBatch(TEXTS))
    idf = inverse_frequency(matrix)
    scaled = matrix @ sparse.diags(idf)
    ridge = Ridge(alpha=3.0, solver="sparse_cg", tol=1e-4).fit(scaled, LABELS, WEIGHTS)
    assert_is(fit_ridge(matrix, LABELS, WEIGHTS, 3.0).real_weights, ridge.coef_ * idf)
    logistic = LogisticRegression(C=0.5, tol=1e-3, random_state=SEED, max_iter=300)
    logistic.fit(scaled, LABELS, WEIGHTS)
    found = fit_logistic(matrix, LABELS, WEIGHTS, 0.5)
    assert_is(found.real_weights, logistic.coef_[0] * idf)
    assert np.count_nonzero(found.weights) <= len(np.unique(matrix.indices))
