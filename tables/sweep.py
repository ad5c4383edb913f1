"""Which numbers of a table nothing refers to any more, found in slices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]


class Sweep:
    """Mark and sweep: numbers in use are marked in parts, the others are handed out in slices.

    What comes into use meanwhile is marked too, so that a number handed out is unused even if the
    sweep began long ago.
    """

    def __init__(self) -> None:
        self._is_marked: npt.NDArray[np.bool_] = np.zeros(1, bool)  # the last one: of no number
        self._bound = self._from = 0

    @property
    def is_running(self) -> bool:
        """Whether some numbers were not looked at since the last `begin`."""
        return self._from < self._bound

    def begin(self, bound: int) -> None:
        """Begin with all numbers below `bound`, none of which is marked."""
        self._is_marked = np.zeros(bound + 1, bool)
        self._bound, self._from = bound, 0

    def mark_all(self, in_use: Numbers) -> None:
        """Note numbers in use: they may repeat, may be new since, and -1 stands for none.

        It takes some milliseconds for a million of them.
        """
        self._is_marked[np.minimum(in_use, self._bound)] = True

    def mark(self, number: int) -> None:
        """Note that a number came into use."""
        if number < self._bound:
            self._is_marked[number] = True

    def next_unused(self, most: int) -> list[int]:
        """The next numbers that are not in use, at most `most`, while the sweep is running."""
        unused: list[int] = (
            np.flatnonzero(~self._is_marked[self._from : self._bound])[:most] + self._from
        ).tolist()
        if len(unused) < most:
            self._from = self._bound
        elif unused:
            self._from = unused[-1] + 1
        return unused
