"""The score of a post, in float64; docs/contracts.md has the formula under "The score".

`score_of` is of one post, `scores_of` of many; the combiner, `feedmill explain`, comparisons of
models and tests compute scores by these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import numpy as np
import numpy.typing as npt

from feedmill.events.weights import Weights

EPOCH_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
LEAST_SUM = 2.0**-40
HOUR_MS = 3_600_000.0


def score_of(
    weights: Weights, values: Mapping[str, float | None], factor: float, created_ms: int
) -> float:
    """Score a post that is shown; higher ranks first.

    Parameters
    ----------
    weights
        The effective weights of the feed.
    values
        The value of each objective and cost as published (a float32); where it is None, NaN or
        missing, its base counts.
    factor
        The product of the demote factors that apply, 1.0 for none.
    created_ms
        The effective creation time, Unix milliseconds.
    """
    total = 0.0
    for name, weight in weights.added:
        value = values.get(name)
        if value is None or isnan(value):
            value = weights.bases.get(name, 0.0)
        total += weight * value
    # Of numpy, as in `scores_of`: `math.log2` may differ in the last bit.
    score = float(np.log2(max(total, LEAST_SUM) * factor))
    for name, cost in weights.costs.items():
        value = values.get(name)
        if value is None or isnan(value):
            value = weights.bases.get(name, 0.0)
        score -= cost * value
    return score + recency_of(weights, created_ms)


def scores_of(
    weights: Weights,
    values: Mapping[str, npt.NDArray[np.float32]],
    factors: npt.NDArray[np.float64],
    created_ms: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return what `score_of` does, of many posts, to the last bit: shape (n,), as all arrays.

    `values` has each signal of `weights.signals`; where it is NaN, its base counts.
    """
    values = with_bases(weights, values)
    total = np.zeros(len(created_ms))
    for name, weight in weights.added:
        # A plain float would have numpy compute in float32.
        total += np.float64(weight) * values[name]
    np.maximum(total, LEAST_SUM, out=total)
    total *= factors
    np.log2(total, out=total)
    for name, cost in weights.costs.items():
        total -= np.float64(cost) * values[name]
    if weights.half_life_hours is not None:
        total += (created_ms - EPOCH_MS) / (weights.half_life_hours * HOUR_MS)
    return total


def with_bases(
    weights: Weights, values: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the values of `weights.signals`, the base of a rate in place of NaN."""
    found = {name: values[name] for name in weights.signals}
    for name in found.keys() & weights.bases.keys():
        lacking = np.isnan(found[name])
        if lacking.any():
            found[name] = np.where(lacking, np.float32(weights.bases[name]), found[name])
    return found


def recency_of(weights: Weights, created_ms: int) -> float:
    """What the creation time adds to the score: half-lives since 2020, or 0 without decay."""
    if weights.half_life_hours is None:
        return 0.0
    return (created_ms - EPOCH_MS) / (weights.half_life_hours * HOUR_MS)
