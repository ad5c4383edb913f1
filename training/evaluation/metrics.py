"""Metrics under the weights of many bootstrap draws at once; for one draw scikit-learn has them.

A draw by scikit-learn takes a sort and its checks of the input: a thousand draws of a set would
take seconds instead of milliseconds.  `tests/training/evaluation/test_metrics.py` compares both.
"""

from __future__ import annotations

import numpy as np

from feedmill.training.arrays import Mask, Values, Weights


def ranking(scores: Values, positive: Mask, weights: Weights) -> Values:
    """Return ROC AUC, average precision and the recall at 1 % false positives, ties exact.

    The recall is that at the lowest threshold that at most 1 % of the others reach.

    Parameters
    ----------
    scores, positive
        (rows,) each.
    weights
        (draws, rows): what the rows weigh in each draw.

    Returns
    -------
    (draws, 3), NaN where a draw has one class alone.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    drawn = weights[:, order]
    hits = np.cumsum(drawn * positive[order], axis=1)[:, last]
    others = np.cumsum(drawn * ~positive[order], axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, false_alarms = hits / hits[:, -1:], others / others[:, -1:]
        gained = np.diff(recall, prepend=0.0, axis=1)
        tied = np.diff(false_alarms, prepend=0.0, axis=1)
        auc = (gained * (1 - false_alarms + tied / 2)).sum(axis=1)
        seen = hits + others
        precision = (gained * hits / np.where(seen > 0, seen, 1.0)).sum(axis=1)
    allowed = false_alarms <= 0.01 + 1e-9
    at_1_percent = np.where(allowed, recall, 0.0).max(axis=1)
    both = (hits[:, -1] > 0) & (others[:, -1] > 0)
    return np.where(both[:, None], np.stack([auc, precision, at_1_percent], axis=1), np.nan)


def calibration_error(values: Values, positive: Mask, weights: Weights, bins: int = 15) -> Values:
    """Return the expected calibration error (Naeini et al. 2015) of probabilities in [0, 1].

    `values` and `positive` are (rows,) each, `weights` (draws, rows); returns (draws,).
    """
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    # What a row adds to its bin: the sum of probabilities less that of the positives.
    gaps = np.zeros((len(values), bins))
    gaps[np.arange(len(values)), bin_of] = values - positive
    total: Values = np.abs(weights @ gaps).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    return total
