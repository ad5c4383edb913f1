"""The rows of each number: an index that one changed row costs a microsecond."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn, in_chunks

Rows = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int32]

# Fewer numbers are gathered by slices.
_FEW_NUMBERS = 32
_ARENA_ROWS = 1 << 26


class GroupedRows:
    """Keeps the rows of each number together; a row has one number, or none.

    The rows of a number stand side by side in one array, in a piece of 1, 2, 4, … places.  When a
    piece is full its rows move to one of twice the size, and whoever needs its size next gets it.

    Attributes
    ----------
    number
        By row its number, -1 for none.
    size
        By number how many rows it has.
    """

    def __init__(self) -> None:
        self.number: MappedColumn[np.int32] = MappedColumn(np.int32, -1)
        self.size: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._place: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._rows: MappedColumn[np.int32] = MappedColumn(np.int32, reserved=_ARENA_ROWS)
        self._start: MappedColumn[np.int64] = MappedColumn(np.int64)
        self._room: MappedColumn[np.int32] = MappedColumn(np.int32)
        self._used = 0
        self._spare: dict[int, list[int]] = {}  # by size the starts of pieces without rows

    def grow(self, rows: int, numbers: int) -> None:
        """Make room for so many rows and numbers."""
        self.number.grow(rows)
        self._place.grow(rows)
        if numbers > len(self.size):
            for column in (self.size, self._start, self._room):
                column.grow(in_chunks(numbers))

    def build(self, numbers: Numbers) -> None:
        """Give all rows their numbers, shape (rows,), -1 for none; called once, at the start."""
        self.grow(len(numbers), int(numbers.max(initial=-1)) + 1)
        self.number.values[: len(numbers)] = numbers
        order = np.argsort(numbers, kind="stable").astype(np.int32)
        order = order[np.searchsorted(numbers[order], 0) :]
        sizes = np.bincount(numbers[order], minlength=len(self.size)).astype(np.int32)
        rooms = np.where(sizes > 0, 1 << np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64), 0)
        starts = np.cumsum(rooms) - rooms
        self._used = int(rooms.sum())
        self._rows.grow(in_chunks(self._used))
        self.size.values[:], self._start.values[:], self._room.values[:] = sizes, starts, rooms
        within = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self._rows.values[np.repeat(starts, sizes) + within] = order
        self._place.values[order] = within

    def move(self, row: int, number: int) -> None:
        """Give a row another number, -1 for none; there must be room for both."""
        before = self.number.cells[row]
        if before == number:
            return
        self.number.cells[row] = number
        if before >= 0:
            self._take_out(row, before)
        if number >= 0:
            size = self.size.cells[number]
            if size == self._room.cells[number]:
                self._widen(number, size)
            self._rows.cells[self._start.cells[number] + size] = row
            self._place.cells[row] = size
            self.size.cells[number] = size + 1

    def move_all(self, rows: Rows, numbers: Numbers) -> None:
        """Give these rows their numbers, each row once."""
        changed = np.flatnonzero(self.number.values[rows] != numbers)
        for row, number in zip(rows[changed].tolist(), numbers[changed].tolist(), strict=True):
            self.move(row, number)

    def rows_of(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """The rows of these numbers, which do not repeat."""
        sizes = self.size.values[numbers]
        starts = self._start.values[numbers]
        rows = self._rows.values
        if len(numbers) <= _FEW_NUMBERS:
            parts = zip(starts.tolist(), sizes.tolist(), strict=True)
            pieces = [rows[start : start + size] for start, size in parts]
            return np.concatenate([rows[:0], *pieces])
        ends = np.cumsum(sizes, dtype=np.int64)
        at = np.arange(int(ends[-1])) + np.repeat(starts - (ends - sizes), sizes)
        found: Rows = rows[at]
        return found

    def _take_out(self, row: int, number: int) -> None:
        """Let the last row of a number have the place of one that leaves."""
        start, size = self._start.cells[number], self.size.cells[number] - 1
        place, last = self._place.cells[row], self._rows.cells[start + size]
        self._rows.cells[start + place] = last
        self._place.cells[last] = place
        self.size.cells[number] = size
        if not size:
            self._spare.setdefault(self._room.cells[number], []).append(start)
            self._room.cells[number] = 0

    def _widen(self, number: int, size: int) -> None:
        room = max(1, 2 * size)
        spare = self._spare.get(room)
        if spare:
            start = spare.pop()
        else:
            start, self._used = self._used, self._used + room
            if self._used > len(self._rows):
                self._rows.grow(in_chunks(self._used))
        if size:
            before, rows = self._start.cells[number], self._rows.values
            rows[start : start + size] = rows[before : before + size]
            self._spare.setdefault(size, []).append(before)
        self._start.cells[number], self._room.cells[number] = start, room
