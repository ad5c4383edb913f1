"""Which rows changed, and in what, in the order of their first change."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn

Rows = npt.NDArray[np.int32]
Masks = npt.NDArray[np.int64]


class ChangeQueue:
    """Rows in the order of their first change, each once, with a mask of all that changed."""

    def __init__(self, bits: int) -> None:
        self._mask: MappedColumn[Any] = MappedColumn(_narrowest(bits))
        self._taken_from = array("i")  # rows before `_position` were taken
        self._position = 0
        self._added_to = array("i")

    def __len__(self) -> int:
        return len(self._taken_from) - self._position + len(self._added_to)

    @property
    def used_bytes(self) -> int:
        """The bytes of the masks and of the rows that wait."""
        waiting = len(self._taken_from) + len(self._added_to)
        return self._mask.used_bytes + waiting * self._added_to.itemsize

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows."""
        self._mask.grow(capacity)

    def add(self, row: int, mask: int) -> None:
        """Note a change of one row."""
        cells = self._mask.cells
        before = cells[row]
        if not before:
            self._added_to.append(row)
        cells[row] = before | mask

    def add_many(self, rows: Rows, mask: int) -> None:
        """Note a change of rows that differ."""
        masks = self._mask.values
        before = masks[rows]
        self._added_to.frombytes(rows[before == 0].astype(np.int32).tobytes())
        masks[rows] = before | masks.dtype.type(mask)

    def take(self, most: int | None = None) -> tuple[Rows, Masks]:
        """The rows that changed first, at most `most`, and their masks; the caller owns both."""
        wanted = len(self) if most is None else min(most, len(self))
        parts = []
        while wanted:
            if self._position == len(self._taken_from):
                self._taken_from, self._added_to = self._added_to, array("i")
                self._position = 0
            part = self._taken_from[self._position : self._position + wanted]
            self._position += len(part)
            wanted -= len(part)
            parts.append(np.frombuffer(part, np.int32))
        if self._position == len(self._taken_from):
            self._taken_from, self._position = array("i"), 0
        rows = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])
        masks = self._mask.values[rows].astype(np.int64)
        self._mask.values[rows] = 0
        return rows, masks


def _narrowest(bits: int) -> type[Any]:
    """The smallest type of number that has so many bits beside the sign."""
    types = (np.int8, np.int16, np.int32, np.int64)
    return next(dtype for dtype in types if bits < np.iinfo(dtype).bits)
