"""Fit the curve that makes a filter's raw scores probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedmill.models.text_model import Calibrator
from feedmill.training.arrays import Values

# Every filter is calibrated to the default thresholds of a gate.
_DEMOTE_AT, _HIDE_AT = 0.6, 0.9
# The curve ends so far beyond its thresholds, in raw scores.
_REACH = 12.0
# It climbs as steadily as before for so much of the way from there to its ceiling.
_STEADY = 0.8


def fixed_calibrator(
    raw_demote: float, raw_hide: float, slope: float, ceiling: float
) -> Calibrator:
    """Map raw scores so that `raw_demote` becomes 0.6 and `raw_hide` 0.9.

    Below 0.6 the log-odds fall by `slope` per unit of raw score.  Above 0.9 (or above 0.6, with a
    `ceiling` below 0.9) they climb on at the same rate, then gently: values stay apart, and the
    highest is `ceiling`.
    """
    odds = [_log_odds(p) for p in (_DEMOTE_AT, _HIDE_AT, ceiling)]
    raw_hide = max(raw_hide, raw_demote + 1e-3)
    climb = (odds[1] - odds[0]) / (raw_hide - raw_demote)
    raw = [raw_demote - _REACH, raw_demote]
    log_odds = [odds[0] - _REACH * slope, odds[0]]
    if ceiling > _HIDE_AT:
        raw.append(raw_hide)
        log_odds.append(odds[1])
    rise = _STEADY * (odds[2] - log_odds[-1])
    steady = raw[-1] + rise / climb
    raw += [steady, steady + _REACH]
    log_odds += [log_odds[-1] + rise, odds[2]]
    return Calibrator(np.array(raw), np.array(log_odds))


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def fit_slope(
    raw: Sequence[float] | Values, labels: Values, weights: Values, raw_demote: float
) -> float:
    """Return how steeply the log-odds should fall below the raw score `raw_demote`.

    Of 41 slopes from 0.1 to 10 log-odds per unit of raw score it is the one with the least
    weighted log loss on the rows below `raw_demote`, where the log-odds are those of 0.6.

    `raw`, `labels` (above 0.5 violates) and `weights` are (rows,) each.
    """
    scores = np.asarray(raw, dtype=np.float64)
    below = scores < raw_demote
    gap, violating, weight = raw_demote - scores[below], labels[below] > 0.5, weights[below]
    slopes = np.geomspace(0.1, 10.0, 41)
    losses = []
    for slope in slopes:
        odds = np.log(0.6 / 0.4) - slope * gap
        losses.append(float((weight * np.logaddexp(0.0, np.where(violating, -odds, odds))).sum()))
    return float(slopes[int(np.argmin(losses))])
