"""The rows of a view that changed: what may hide, show or delete goes before all else."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
Masks = npt.NDArray[np.int64]


class ChangedRows:
    """Rows and what changed in each, taken in the order of their first changes.

    First those with a change of `deciding` bits: in a storm of engagements a post that is hidden
    must not wait for thousands of values.
    """

    def __init__(self, deciding: int) -> None:
        self._deciding = deciding
        self._first: dict[int, int] = {}
        self._others: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._first) + len(self._others)

    @property
    def first_count(self) -> int:
        """How many of them go before the others."""
        return len(self._first)

    def note(self, rows: Iterable[int], mask: int) -> None:
        """Add the same to what changed in each of these rows."""
        first, others, is_deciding = self._first, self._others, mask & self._deciding
        for row in rows:
            if row in first:
                first[row] |= mask
            elif is_deciding:
                first[row] = mask | others.pop(row, 0)
            else:
                others[row] = others.get(row, 0) | mask

    def take(self, most: int | None = None) -> tuple[Rows, Masks]:
        """Remove and return the next rows, at most `most`, and what changed in each."""
        self._first, taken = _cut(self._first, most)
        if most is None or len(taken) < most:
            left = None if most is None else most - len(taken)
            self._others, more = _cut(self._others, left)
            taken |= more
        count = len(taken)
        return np.fromiter(taken, np.int32, count), np.fromiter(taken.values(), np.int64, count)


def _cut(rows: dict[int, int], most: int | None) -> tuple[dict[int, int], dict[int, int]]:
    """Return what is left, and the first `most`."""
    if most is None or len(rows) <= most:
        return {}, rows  # one whose entries are deleted is looked through for ever
    taken = dict(islice(rows.items(), most))
    for row in taken:
        del rows[row]
    return rows, taken
