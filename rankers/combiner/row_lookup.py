"""Where rows stand among other rows, in time that grows with their number alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
Positions = npt.NDArray[np.int32]


class RowLookup:
    """A table over all rows that is never cleared; every entry is verified when it is read.

    One of them serves any number of lists.
    """

    def __init__(self) -> None:
        self._position: Positions = np.zeros(0, np.int32)

    def find(self, rows: Rows, among: Rows) -> Positions:
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
