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


def calibration_bins(predicted: Values, weights: Values, bins: int = 10) -> npt.NDArray[np.int64]:
    """Return the bin of each row, (rows,), of bins of about equal weight, the lowest first.

    Rows with the same prediction are in one bin; some bins may be empty.
    """
    place = np.unique(predicted, return_inverse=True)[1]
    of_value = np.bincount(place, weights)
    middle = np.cumsum(of_value) - of_value / 2
    bin_of = np.minimum((middle / of_value.sum() * bins).astype(np.int64), bins - 1)
    return np.asarray(bin_of[place])


def rate_calibration(
    predicted: Values, rates: Values, weights: Values, bins: int = 10
) -> list[tuple[float, float, float]]:
    """Return (weight, mean prediction, rate) of `calibration_bins`."""
    bin_of = calibration_bins(predicted, weights, bins)
    total = np.bincount(bin_of, weights)
    mean = np.bincount(bin_of, weights * predicted)
    rate = np.bincount(bin_of, weights * rates)
    return [
        (float(total[i]), float(mean[i] / total[i]), float(rate[i] / total[i]))
        for i in np.unique(bin_of)
    ]


def rate_calibration_error(predicted: Values, rates: Values, weights: Values) -> float:
    """Return the expected calibration error of rates, over ten bins of equal weight."""
    bins = rate_calibration(predicted, rates, weights)
    total = sum(weight for weight, _, _ in bins)
    return sum(weight * abs(mean - rate) for weight, mean, rate in bins) / total


def slope_parts(
    scores: Values, truth: Values, weights: Values, groups: npt.NDArray[np.str_]
) -> tuple[Values, Values]:
    """Return what each row adds to numerator and denominator of `slope_within`: (rows,) each."""
    group_of = np.unique(groups, return_inverse=True)[1]
    total = np.bincount(group_of, weights)
    x, y = (v - (np.bincount(group_of, v * weights) / total)[group_of] for v in (scores, truth))
    return weights * x * y, weights * x * x


def slope_within(
    scores: Values, truth: Values, weights: Values, groups: npt.NDArray[np.str_]
) -> float:
    """Return the slope of truth on scores among rows of one group, by least squares.

    1 says that two rows of a group lie as far apart as their scores do; 0 without any spread.
    """
    shared, spread = (float(part.sum()) for part in slope_parts(scores, truth, weights, groups))
    return shared / spread if spread else 0.0
