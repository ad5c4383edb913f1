"""Measures of a model's order: numpy alone, ties handled exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def share(mask: Mask) -> float:
    """Return the share that is true, 0 of nothing."""
    return float(mask.mean()) if len(mask) else 0.0


def recall_at(scores: Values, positive: Mask, false_positives: float) -> float:
    """Return the recall at the threshold that `false_positives` of the other rows exceed."""
    if positive.all() or not positive.any():
        return 0.0
    return share(scores[positive] > np.quantile(scores[~positive], 1 - false_positives))


def area(scores: Values, positive: Mask) -> float:
    """Return the area under the ROC curve: the chance that a positive outranks another (ties ½)."""
    order = np.sort(scores[~positive])
    if not len(order) or not positive.any():
        return 0.5
    below = np.searchsorted(order, scores[positive], side="left")
    upto = np.searchsorted(order, scores[positive], side="right")
    return float((below + upto).mean() / 2 / len(order))


def ranks(values: Values) -> Values:
    """Return mid-ranks."""
    order = np.sort(values)
    below = np.searchsorted(order, values, side="left")
    return (below + np.searchsorted(order, values, side="right")) / 2


def rank_correlation(left: Values, right: Values) -> float:
    """Return Spearman's correlation, 0 where either is constant."""
    a, b = ranks(left), ranks(right)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
