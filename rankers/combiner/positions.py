"""Where posts stand: among other rows, among equal scores, and among those of their author."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from feedmill.rankers.combiner.columns import Flags, Rows

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


class PostIds(Protocol):
    """Post ids by row."""

    def __getitem__(self, row: int, /) -> str: ...


class RowLookup:
    """A table over all rows that is never cleared; every entry is verified when it is read.

    One of them serves any number of lists.
    """

    def __init__(self) -> None:
        self._position: Rows = np.zeros(0, np.int32)

    def find(self, rows: Rows, among: Rows) -> Rows:
        """The position in `among` of each of `rows`, -1 where it is not there.

        -1 is found nowhere.  No row is in `among` twice, or any of its positions
        is returned.
        """
        if not len(among) or not len(rows):
            return np.full(len(rows), -1, np.int32)
        # The last entry is that of -1.
        self._grow(max(int(rows.max()), int(among.max())) + 2)
        self._position[among] = np.arange(len(among), dtype=np.int32)
        position = self._position[rows]
        position[position >= len(among)] = 0
        position[(among[position] != rows) | (rows < 0)] = -1
        return position

    def _grow(self, capacity: int) -> None:
        if len(self._position) < capacity:
            # Zeroed pages that nothing is written to take no memory.
            self._position = np.zeros(max(capacity, 2 * len(self._position), 8192), np.int32)


def rank_within(authors: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """For each position, how many of the same author come before it."""
    by_author = np.argsort(authors, kind="stable")
    starts, ends = runs(authors[by_author])
    ranks = np.empty(len(authors), np.intp)
    ranks[by_author] = np.arange(len(authors)) - np.repeat(starts, ends - starts)
    return ranks


def runs(ordered: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where each run of equal values begins and ends."""
    is_start = np.empty(len(ordered), bool)
    is_start[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_start[1:])
    starts = is_start.nonzero()[0]
    ends = np.empty_like(starts)
    ends[:-1] = starts[1:]
    ends[-1:] = len(ordered)
    return starts, ends


# --- one value of an array ------------------------------------------------------------------


def inserted(values: npt.NDArray[Any], at: int, value: float) -> npt.NDArray[Any]:
    """A copy with one more value; `np.insert` takes ten times as long."""
    longer = np.empty(len(values) + 1, values.dtype)
    longer[:at], longer[at], longer[at + 1 :] = values[:at], value, values[at:]
    return longer


def shift(values: npt.NDArray[Any], from_at: int, to_at: int) -> None:
    """Move one value to another position, and those between by one, in place."""
    value = values[from_at]
    if to_at > from_at:
        values[from_at:to_at] = values[from_at + 1 : to_at + 1]
    else:
        values[to_at + 1 : from_at + 1] = values[to_at:from_at]
    values[to_at] = value


def without(values: npt.NDArray[Any], at: int) -> npt.NDArray[Any]:
    """A copy without one value; `np.delete` takes several times as long."""
    shorter = np.empty(len(values) - 1, values.dtype)
    shorter[:at], shorter[at:] = values[:at], values[at + 1 :]
    return shorter


# --- equal scores: in descending order of ids, few of which are read -------------------------


def place_of(ids: PostIds, row: int, score: float, rows: Rows, scores: Floats) -> int:
    """Where a post that is not among these, best first, goes: it takes the logarithm of ties."""
    end = len(scores) - int(scores[::-1].searchsorted(score))
    if not end or scores.item(end - 1) != score:
        return end
    start = len(scores) - int(scores[::-1].searchsorted(score, "right"))
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
