"""Metrics of rankers: of predicted rates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.training.arrays import Values


def log_losses(predicted: Values, rates: Values) -> Values:
    """Return the binomial log loss per impression of each row, as nats: (rows,).

    Probabilities are kept to [1e-6, 1 - 1e-6].
    """
    kept = np.clip(predicted, 1e-6, 1 - 1e-6)
    return np.asarray(-(rates * np.log(kept) + (1 - rates) * np.log1p(-kept)))


def log_loss(predicted: Values, rates: Values, weights: Values) -> float:
    """Return the binomial log loss per impression of (rows,) probabilities, as nats.

    `rates` are the clicks per impression of each row, `weights` its impressions.
    """
    loss = -(rates * np.log(predicted) + (1 - rates) * np.log1p(-predicted))
    return float((loss * weights).sum() / weights.sum())


def rate_calibration_error(
    predicted: Values, rates: Values, weights: Values, bins: int = 10
) -> float:
    """Return the expected calibration error of rates, over bins of about equal weight.

    Rows with the same prediction are in one bin.
    """
    place = np.unique(predicted, return_inverse=True)[1]
    of_value = np.bincount(place, weights)
    middle = np.cumsum(of_value) - of_value / 2
    bin_of = np.minimum((middle / of_value.sum() * bins).astype(np.int64), bins - 1)[place]
    gaps = np.bincount(bin_of, weights * (predicted - rates))
    return float(np.abs(gaps).sum() / weights.sum())


def slope_within(
    scores: Values, truth: Values, weights: Values, groups: npt.NDArray[np.str_]
) -> float:
    """Return the slope of truth on scores among rows of one group, by least squares.

    1 says that two rows of a group lie as far apart as their scores do; 0 without any spread.
    """
    group_of = np.unique(groups, return_inverse=True)[1]
    total = np.bincount(group_of, weights)
    x, y = (v - (np.bincount(group_of, v * weights) / total)[group_of] for v in (scores, truth))
    spread = float((weights * x * x).sum())
    return float((weights * x * y).sum()) / spread if spread else 0.0
