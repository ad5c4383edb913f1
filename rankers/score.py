"""The score of one post, in plain float64.

`FeedScores` computes the same for many posts at once.  `feedmill explain` and tests
recompute rankings with it; docs/contracts.md has the formula under "The score".
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from feedmill.events.weights import Weights

EPOCH_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
LEAST_SUM = 2.0**-40
HOUR_MS = 3_600_000.0


def score_of(
    weights: Weights, objectives: Mapping[str, float | None], factor: float, created_ms: int
) -> float:
    """Score a post that is shown; higher ranks first.

    Parameters
    ----------
    weights
        The effective weights of the feed.
    objectives
        The value of each objective as published (a float32); None or missing counts as 0.
    factor
        The product of the demote factors that apply, 1.0 for none.
    created_ms
        The effective creation time, Unix milliseconds.
    """
    total = sum(
        weight * weights.scale[name] * (objectives.get(name) or 0.0)
        for name, weight in weights.objectives.items()
    )
    return math.log2(max(total, LEAST_SUM) * factor) + recency_of(weights, created_ms)


def recency_of(weights: Weights, created_ms: int) -> float:
    """What the creation time adds to the score: half-lives since 2020, or 0 without decay."""
    if weights.half_life_hours is None:
        return 0.0
    return (created_ms - EPOCH_MS) / (weights.half_life_hours * HOUR_MS)
