"""The best `size` of many scores: exact, with ties in a fixed order and a limit per author."""

from __future__ import annotations

import heapq
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int32]


class PostIds(Protocol):
    """Post ids by row."""

    def __getitem__(self, row: int, /) -> str: ...


def top(
    scores: Floats,
    rows: Rows,
    ids: PostIds,
    authors: npt.NDArray[np.int32],
    size: int,
    max_per_author: int | None,
) -> tuple[Rows, Floats]:
    """The rows with the highest scores, in order, at most `max_per_author` of one author.

    Parameters
    ----------
    scores
        Shape (n,), float64; ``-inf`` is never taken.
    rows
        Shape (n,): the row in `ids` and `authors` that each score belongs to.
    ids
        Post ids by row; equal scores come in descending order of the id's bytes.
    authors
        Author number by row.
    size
        How many to return at most.
    max_per_author
        How many of one author to return at most; None for no limit.

    Returns
    -------
    Rows and their scores, both shape (at most `size`,), new arrays.
    """
    wanted = size if max_per_author is None else 2 * size
    while True:
        picked, exhausted = _highest(scores, rows, ids, wanted)
        ordered = _in_order(picked, scores, rows, ids)
        if max_per_author is not None:
            ordered = ordered[rank_within(authors[rows[ordered]]) < max_per_author]
        if exhausted or len(ordered) >= size:
            best = ordered[:size]
            return rows[best], scores[best]
        wanted *= 4


def _highest(
    scores: Floats, rows: Rows, ids: PostIds, wanted: int
) -> tuple[npt.NDArray[np.intp], bool]:
    """Positions of the `wanted` highest scores in no order, and whether there are no more."""
    cut = len(scores) - wanted
    if cut <= 0:
        return np.flatnonzero(scores > -np.inf), True
    best = np.argpartition(scores, cut)[cut:]
    least = scores[best].min()
    if least == -np.inf:
        return best[scores[best] > -np.inf], True
    tied = np.flatnonzero(scores == least)
    if len(tied) > 1:
        above = best[scores[best] > least]
        room = wanted - len(above)
        chosen = heapq.nlargest(room, tied.tolist(), key=lambda i: ids[int(rows[i])])
        return np.concatenate((above, np.array(chosen, np.intp))), False
    return best, False


def _in_order(
    picked: npt.NDArray[np.intp], scores: Floats, rows: Rows, ids: PostIds
) -> npt.NDArray[np.intp]:
    ordered = picked[np.argsort(-scores[picked], kind="stable")]
    values = scores[ordered]
    if len(values) > 1 and (values[1:] == values[:-1]).any():
        # Python's sort is stable: by id first, then by score.
        by_id = sorted(ordered.tolist(), key=lambda i: ids[int(rows[i])], reverse=True)
        by_id.sort(key=scores.__getitem__, reverse=True)
        ordered = np.array(by_id, np.intp)
    return ordered


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
