"""How much less a post is looked at further down a feed: the examination curve.

Position-based model (Richardson et al. 2007; Chuklin et al. 2015): a click needs that the user
looks at the position and likes the post, ``P(click) = examination[position] * rate[post]``.
Each post has a rate of its own, so that good posts at the top make no curve steeper.  What tells
the curve are posts that were shown at several positions, however a ranking put them there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from feedmill.events.engagement import Engagement
from feedmill.training.arrays import Values

_ROUNDS = 500
_CONVERGED = 1e-6


def fit_examination(impressions: Values, clicks: Values) -> Values:
    """Return the examination of each position, that of the first being 1: (positions,).

    The maximum of the Poisson likelihood with a factor for each post and one for each position, by
    iterative proportional fitting.  Where no post was shown at two positions nothing tells the
    curve, and it stays flat.  A position without impressions counts as the one before it.

    Parameters
    ----------
    impressions, clicks
        (posts, positions) counts of first impressions, and of clicks on them.
    """
    shown = impressions.sum(axis=0) > 0
    examination = np.ones(impressions.shape[1])
    for _ in range(_ROUNDS):
        rates = _ratio(clicks.sum(axis=1), impressions @ examination)
        fitted = _ratio(clicks.sum(axis=0), rates @ impressions)
        fitted /= fitted[0] if fitted[0] > 0 else 1.0
        moved = np.abs(fitted - examination)[shown].max(initial=0.0)
        examination = fitted
        if moved < _CONVERGED:
            break
    for position in np.flatnonzero(~shown).tolist():
        examination[position] = examination[position - 1] if position else 1.0
    return examination


def counts_by_position(
    engagements: Iterable[Engagement], positions: int
) -> tuple[list[str], Values, Values]:
    """Count first impressions and first clicks of users by post and position.

    A click counts at the position of the user's impression, or at its own where that is unknown.
    Events without a position, or with one from `positions` on, are left out.

    Returns
    -------
    Post ids, and (posts, positions) impressions and clicks.
    """
    rows: dict[str, int] = {}
    cells: dict[str, dict[tuple[str, str], int]] = {"impression": {}, "click": {}}
    for event in engagements:
        if event.kind in cells and event.position is not None and event.position < positions:
            rows.setdefault(event.post_id, len(rows))
            cells[event.kind].setdefault((event.post_id, event.user_id), event.position)
    counts = np.zeros((2, len(rows), positions))
    for (post_id, _), position in cells["impression"].items():
        counts[0, rows[post_id], position] += 1
    for key, position in cells["click"].items():
        counts[1, rows[key[0]], cells["impression"].get(key, position)] += 1
    return list(rows), counts[0], counts[1]


def _ratio(parts: Values, wholes: Values) -> Values:
    return np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
