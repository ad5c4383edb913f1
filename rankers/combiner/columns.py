"""The columns of posts, one row each, and tables of distinct values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn
from feedmill.tables.sweep import Sweep

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
        """Make room for `capacity` rows; all arrays are others afterwards."""
        columns = (self._offset, self._created_ms, self._arrived_ms, self._author, self._group)
        for column in columns:
            column.grow(capacity)
        self.offset = self._offset.values
        self.created_ms = self._created_ms.values
        self.arrived_ms = self._arrived_ms.values
        self.author = self._author.values
        self.group = self._group.values

    def clear(self, rows: Any) -> None:
        """Forget the posts of these rows; when they were created is still known."""
        self.offset[rows] = NO_POST
        self.author[rows] = -1
        self.group[rows] = -1

    def count_late(self, rows: npt.NDArray[np.int32], window_ms: int) -> None:
        """Count those of these posts that were older than the window when their records came."""
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
        """Forget at most `most` values that `sweeping` finds unused; returns their numbers.

        They will stand for other values, so the caller drops at once all that refers to them.
        """
        unused = [n for n in self.sweeping.next_unused(most) if self.values[n] is not None]
        for number in unused:
            del self._numbers[self.values[number]]
            self.values[number] = None
        self._spare.extend(unused)
        return unused
