"""Equal scores: such posts come in descending order of their ids, few of which are read."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

import numpy as np
import numpy.typing as npt

from feedmill.rankers.combiner.top import PostIds, runs

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]


def place_of(ids: PostIds, row: int, score: float, rows: Rows, scores: Floats) -> int:
    """Where a post that is not among these, best first, goes: it takes the logarithm of ties."""
    worst_first = scores[::-1]
    start = len(scores) - int(worst_first.searchsorted(score, "right"))
    end = len(scores) - int(worst_first.searchsorted(score))
    if start == end:
        return start
    post_id = ids[row]
    at = bisect_left(range(start, end), True, key=lambda at: ids[rows.item(at)] < post_id)
    return start + at


def order_of_ties(ids: PostIds, rows: Rows, scores: Floats, is_new: Flags) -> Positions | None:
    """The positions of posts in their order, if `scores` has ties among which some post is new.

    Of equal scores the posts that are not new are sorted already, and come before the new ones.
    """
    if not (scores[1:] == scores[:-1]).any():
        return None
    starts, ends = runs(scores)
    order = np.arange(len(scores))
    has_new = np.logical_or.reduceat(is_new, starts)
    for run in np.flatnonzero(has_new & (ends - starts > 1)).tolist():
        part = slice(starts[run], ends[run])
        tied, new = order[part], is_new[part]
        order[part] = _merged(ids, rows, tied[~new], tied[new])
    return order


def _merged(ids: PostIds, rows: Rows, old: Positions, new: Positions) -> Positions:
    """Sorted positions, with new ones in their places among them."""

    @cache
    def id_at(position: int) -> str:
        return ids[rows.item(position)]

    ordered = sorted(new.tolist(), key=id_at, reverse=True)
    positions = old.tolist()
    places = [
        bisect_left(positions, True, key=lambda at: id_at(at) < id_at(position))
        for position in ordered
    ]
    return np.insert(old, places, ordered)
