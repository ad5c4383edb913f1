"""Metrics of how a model orders rows, and of its probabilities: numpy alone, ties exact."""

from __future__ import annotations

import numpy as np

from feedmill.training.arrays import Mask, Values, Weights

Points = list[tuple[float, float]]


def fraction(mask: Mask) -> float:
    """Return the fraction of a (rows,) mask that is true, 0 of no rows."""
    return float(mask.mean()) if len(mask) else 0.0


def roc_auc(scores: Values, positive: Mask) -> float:
    """Return the area under the ROC curve: how often a positive outranks another, ties half.

    0.5 where there is one class alone.

    Parameters
    ----------
    scores, positive
        (rows,) each.
    """
    order = np.sort(scores[~positive])
    if not len(order) or not positive.any():
        return 0.5
    below = np.searchsorted(order, scores[positive], side="left")
    upto = np.searchsorted(order, scores[positive], side="right")
    return float((below + upto).mean() / 2 / len(order))


def _counts(scores: Values, positive: Mask) -> tuple[Values, Values]:
    """Count positives and others at or above each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[last].astype(np.float64)
    return hits, last + 1 - hits


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


def roc_points(scores: Values, positive: Mask, most: int = 80) -> Points:
    """Return (false positive rate, recall) along the ROC curve, from (0, 0) to (1, 1)."""
    if positive.all() or not positive.any():
        return []
    hits, others = _counts(scores, positive)
    return _thinned(np.append(0, others / others[-1]), np.append(0, hits / hits[-1]), most)


def precision_recall_points(scores: Values, positive: Mask, most: int = 80) -> Points:
    """Return (recall, precision) from the highest score down."""
    if not positive.any():
        return []
    hits, others = _counts(scores, positive)
    return _thinned(hits / hits[-1], hits / (hits + others), most)


def _thinned(across: Values, up: Values, most: int) -> Points:
    """Keep both ends, and about `most` points at equal distances along the curve."""
    length = np.cumsum(np.hypot(np.diff(across, prepend=across[0]), np.diff(up, prepend=up[0])))
    at = np.searchsorted(length, np.linspace(0, length[-1], most))
    kept = np.unique(np.append(at, [0, len(across) - 1]))
    return [(float(across[i]), float(up[i])) for i in kept]


def calibration_bins(
    values: Values, positive: Mask, bins: int = 15
) -> list[tuple[int, float, float]]:
    """Return (rows, mean probability, fraction positive) of each bin of equal width with rows."""
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    with_rows = []
    for index in range(bins):
        inside = bin_of == index
        if inside.any():
            rows = int(inside.sum())
            with_rows.append((rows, float(values[inside].mean()), float(positive[inside].mean())))
    return with_rows


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


def ranks(values: Values) -> Values:
    """Return mid-ranks: (rows,)."""
    order = np.sort(values)
    below = np.searchsorted(order, values, side="left")
    return (below + np.searchsorted(order, values, side="right")) / 2


def rank_correlation(left: Values, right: Values) -> float:
    """Return Spearman's correlation, 0 where either is constant."""
    a, b = ranks(left), ranks(right)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
