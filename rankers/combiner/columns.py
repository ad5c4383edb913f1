"""The columns of posts, one row each, which rows changed, and tables of distinct values."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.tables.id_table import Sweep
from feedmill.tables.mapped_column import MappedColumn

Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.int64]
NO_POST = -1
NEVER_MS = 1 << 62


class PostColumns:
    """What the combiner knows of every post beside its signals; arrays by row.

    Attributes
    ----------
    offset
        The offset of the post's record, `NO_POST` where there is no post, only waiting signals.
    created_ms, arrived_ms
        The effective creation time, `NEVER_MS` where the row is free, and the record's own
        timestamp.
    author, group
        Numbers in the view's tables, -1 where there is no post.
    late
        How many posts `count_late` counted.
    """

    def __init__(self) -> None:
        self._offset = MappedColumn(np.int64, NO_POST)
        self._created_ms = MappedColumn(np.int64, NEVER_MS)
        self._arrived_ms = MappedColumn(np.int64)
        self._author = MappedColumn(np.int32, -1)
        self._group = MappedColumn(np.int32, -1)
        self.late = 0
        self.grow(0)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows; arrays that were read before are out of date."""
        columns = (self._offset, self._created_ms, self._arrived_ms, self._author, self._group)
        for column in columns:
            column.grow(capacity)
        self.offset = self._offset.values
        self.created_ms = self._created_ms.values
        self.arrived_ms = self._arrived_ms.values
        self.author = self._author.values
        self.group = self._group.values

    def clear(self, rows: Any) -> None:
        """Forget the posts of these rows, but for when they were created."""
        self.offset[rows] = NO_POST
        self.author[rows] = -1
        self.group[rows] = -1

    def count_late(self, rows: Rows, window_ms: int) -> None:
        """Count the posts that were older than the window when their records came."""
        is_late = self.arrived_ms[rows] - self.created_ms[rows] > window_ms
        self.late += int(np.count_nonzero(is_late & (self.offset[rows] != NO_POST)))


class InternTable:
    """A table of distinct values and their numbers.

    Attributes
    ----------
    values
        By number, None where it stands for none.
    sweeping
        Which numbers nothing refers to; `number` tells it what comes into use.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.sweeping = Sweep()
        self._numbers: dict[Any, int] = {}
        self._spare: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, value: Any) -> int:
        """The number of a value, a new one if it is new."""
        number = self._numbers.get(value)
        if number is None:
            if not self._spare:
                self._spare.append(len(self.values))
                self.values.append(None)
            number = self._numbers[value] = self._spare.pop()
            self.values[number] = value
        if self.sweeping.is_running:
            self.sweeping.mark(number)
        return number

    def find(self, value: Any) -> int | None:
        """The number of a value that is known, else None."""
        return self._numbers.get(value)

    def sweep(self, most: int) -> list[int]:
        """Forget at most `most` values that `sweeping` finds unused; return their numbers.

        The numbers will stand for other values: the caller drops at once all that refers to them.
        """
        unused = [n for n in self.sweeping.next_unused(most) if self.values[n] is not None]
        for number in unused:
            del self._numbers[self.values[number]]
            self.values[number] = None
        self._spare.extend(unused)
        return unused


class ChangedRows:
    """Rows and what changed in each, taken in the order of their first changes.

    Rows with a change of `deciding` bits come first: in a storm of engagements a post that is
    hidden must not wait for thousands of values.
    """

    def __init__(self, deciding: int) -> None:
        self._deciding = deciding
        self._first: dict[int, int] = {}
        self._others: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._first) + len(self._others)

    @property
    def first_count(self) -> int:
        """How many rows have a change of `deciding` bits."""
        return len(self._first)

    def mark(self, rows: Iterable[int], mask: int) -> None:
        """Add these bits to what changed in each of these rows."""
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
        return {}, rows  # a dict whose entries are deleted gets slow to iterate
    taken = dict(islice(rows.items(), most))
    for row in taken:
        del rows[row]
    return rows, taken
