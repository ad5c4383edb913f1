"""Whole numbers in five bytes each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn

Ints = npt.NDArray[np.int64]

_LOW_BITS = 32
_LOW = (1 << _LOW_BITS) - 1
_ELSEWHERE = (1 << 40) - 1


class CompactInts:
    """A column of numbers from 0 to 2**63 - 1 that are mostly in [`least`, `least` + 2**40 - 1).

    Others are kept in a dict.  A column in which every number is `least` takes no memory.
    """

    def __init__(self, least: int = 0) -> None:
        self._least = least
        self._low = MappedColumn(np.uint32)
        self._high = MappedColumn(np.uint8)
        self._elsewhere: dict[int, int] = {}
        self._is_used = False

    @property
    def used_bytes(self) -> int:
        """The bytes of the rows, without those in the dict."""
        return self._low.used_bytes + self._high.used_bytes if self._is_used else 0

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows; new ones hold `least`."""
        self._low.grow(capacity)
        self._high.grow(capacity)

    def get(self, row: int) -> int:
        """The number in this row."""
        if not self._is_used:
            return self._least
        code: int = self._high.cells[row] << _LOW_BITS | self._low.cells[row]
        return self._elsewhere[row] if code == _ELSEWHERE else code + self._least

    def get_many(self, rows: npt.NDArray[np.int32]) -> Ints:
        """The numbers in these rows."""
        if not self._is_used:
            return np.full(len(rows), self._least, np.int64)
        codes = self._high.values[rows].astype(np.int64) << _LOW_BITS
        codes |= self._low.values[rows]
        numbers = codes + self._least
        if self._elsewhere:
            for i in np.flatnonzero(codes == _ELSEWHERE).tolist():
                numbers[i] = self._elsewhere[int(rows[i])]
        return numbers

    def set(self, row: int, number: int) -> None:
        """Set the number in this row."""
        code = number - self._least
        if not code and not self._is_used:
            return
        self._is_used = True
        if self._elsewhere:
            self._elsewhere.pop(row, None)
        if not 0 <= code < _ELSEWHERE:
            self._elsewhere[row] = number
            code = _ELSEWHERE
        self._low.cells[row] = code & _LOW
        self._high.cells[row] = code >> _LOW_BITS
