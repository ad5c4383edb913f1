"""Groups of posts whose texts are alike: where to look for more copies than the nearest one.

Fixed memory: a group remembers its last `KEPT` members, the table the last `GROUPS` groups, those
with recent members rather than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

NONE = -1
KEPT = 32
GROUPS = 1 << 13
_TRIES = 16


class Clusters:
    """Groups of entries, known by a number that only grows; entries are uint32.

    Parameters
    ----------
    is_recent
        Whether an entry lies inside the time window, as of now.
    """

    def __init__(self, is_recent: Callable[[int], bool]) -> None:
        self._is_recent = is_recent
        self._number = np.full(GROUPS, NONE, dtype=np.int64)
        self._members = np.zeros((GROUPS, KEPT), dtype=np.uint32)
        self._count = np.zeros(GROUPS, dtype=np.int32)
        self._next = 0

    def knows(self, group: int) -> bool:
        """Whether this group is still remembered."""
        return group != NONE and int(self._number[group % GROUPS]) == group

    def members(self, group: int) -> list[int]:
        """The last members of a group, oldest first, not all of them recent."""
        row = group % GROUPS
        members: list[int] = self._members[row, : self._count[row]].tolist()
        return members

    def add(self, group: int, entry: int) -> None:
        """Add the newest entry to a group."""
        row, count = group % GROUPS, int(self._count[group % GROUPS])
        if count == KEPT:
            self._members[row, :-1] = self._members[row, 1:]
            count -= 1
        self._members[row, count] = entry
        self._count[row] = count + 1

    def open(self, entries: Sequence[int]) -> int:
        """Make a group of entries, oldest first; it takes the place of the oldest idle group."""
        for number in range(self._next, self._next + _TRIES):
            members = self.members(number)
            if not members or not self._is_recent(members[-1]):
                break
        self._next = number + 1
        self._number[number % GROUPS], self._count[number % GROUPS] = number, 0
        for entry in entries[-KEPT:]:
            self.add(number, entry)
        return number
