"""Metrics of how a model orders rows, and of its probabilities: numpy alone, ties exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedmill.training.arrays import Mask, Values

Points = list[tuple[float, float]]


def fraction(mask: Mask) -> float:
    """Return the fraction of a (rows,) mask that is true, 0 of no rows."""
    return float(mask.mean()) if len(mask) else 0.0


def recall_at_fpr(scores: Values, positive: Mask, false_positives: float) -> float:
    """Return the recall at the threshold that a fraction `false_positives` of the others exceeds.

    0 where there is one class alone.
    """
    if positive.all() or not positive.any():
        return 0.0
    return fraction(scores[positive] > np.quantile(scores[~positive], 1 - false_positives))


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


def common_threshold(sources: Sequence[Values], exceeded: float) -> float:
    """Return the least score that at most a fraction `exceeded` lies above, sources weighing alike.

    `sources` are the scores of each source, (rows,) each.  Infinite if there is no score at all.
    """
    with_rows = [scores for scores in sources if len(scores)]
    if not with_rows:
        return float("inf")
    values = np.concatenate(with_rows)
    weights = np.concatenate([np.full(len(s), 1 / len(s) / len(with_rows)) for s in with_rows])
    order = np.argsort(values)
    distinct, first = np.unique(values[order], return_index=True)
    total = np.cumsum(weights[order])
    # The weight of all scores above each distinct one.
    above = 1 - np.append(total[first[1:] - 1], total[-1])
    return float(distinct[np.argmax(above <= exceeded + 1e-9)])


def _counts(scores: Values, positive: Mask) -> tuple[Values, Values]:
    """Count positives and others at or above each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[last].astype(np.float64)
    return hits, last + 1 - hits


def average_precision(scores: Values, positive: Mask) -> float:
    """Return the mean precision over the recalls reached, ties as one; 0 without positives."""
    if not positive.any():
        return 0.0
    hits, others = _counts(scores, positive)
    gained = np.diff(hits, prepend=0.0)
    return float((gained * hits / (hits + others)).sum() / hits[-1])


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


def calibration_error(values: Values, positive: Mask, bins: int = 15) -> float:
    """Return the expected calibration error (Naeini et al. 2015) of probabilities in [0, 1]."""
    with_rows = calibration_bins(values, positive, bins)
    return sum(rows * abs(mean - hit) for rows, mean, hit in with_rows) / max(len(values), 1)


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
