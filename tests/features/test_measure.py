from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from feedmill.features.measure import area, rank_correlation, recall_at


def test_equal_scikit_learn_and_scipy_with_ties() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 9, 300).astype(np.float64)
    positive = random.random(300) < 0.3
    assert np.isclose(area(scores, positive), roc_auc_score(positive, scores))
    other = random.integers(0, 5, 300) + scores
    assert np.isclose(rank_correlation(scores, other), spearmanr(scores, other).statistic)


def test_recall_at_a_share_of_false_positives() -> None:
    scores = np.arange(100.0)
    positive = scores >= 95
    assert recall_at(scores, positive, 0.01) == 1.0
    assert area(scores, positive) == 1.0
    assert recall_at(scores, np.ones(100, dtype=np.bool_), 0.01) == 0.0
