"""Clusters of posts with similar texts: where to look for more copies than the nearest one.

Fixed memory: a cluster keeps its last `MAX_MEMBERS` members, and there are `MAX_CLUSTERS` slots.
A new cluster replaces one without recent members where it finds such a one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

NO_CLUSTER = -1
MAX_MEMBERS = 32
MAX_CLUSTERS = 1 << 13
_SLOTS_TRIED = 16


class Clusters:
    """Clusters of entries, in fixed memory.

    A cluster's number only grows; its slot is the number modulo `MAX_CLUSTERS`, so that a cluster
    is forgotten when a later one takes its slot.  Entries are sequence numbers (uint32).

    Parameters
    ----------
    is_recent
        Whether an entry lies inside the time window at the moment of the call.
    """

    def __init__(self, is_recent: Callable[[int], bool]) -> None:
        self._is_recent = is_recent
        self._numbers = np.full(MAX_CLUSTERS, NO_CLUSTER, dtype=np.int64)
        self._members = np.zeros((MAX_CLUSTERS, MAX_MEMBERS), dtype=np.uint32)
        self._member_counts = np.zeros(MAX_CLUSTERS, dtype=np.int32)
        self._next_number = 0

    def __contains__(self, cluster: int) -> bool:
        """Whether this cluster is still remembered."""
        return cluster != NO_CLUSTER and int(self._numbers[cluster % MAX_CLUSTERS]) == cluster

    def members(self, cluster: int) -> list[int]:
        """Return the members of a remembered cluster, oldest first; not all need be recent."""
        slot = cluster % MAX_CLUSTERS
        members: list[int] = self._members[slot, : self._member_counts[slot]].tolist()
        return members

    def add(self, cluster: int, entry: int) -> None:
        """Add the newest entry to a remembered cluster; a full one drops its oldest member."""
        slot = cluster % MAX_CLUSTERS
        count = int(self._member_counts[slot])
        if count == MAX_MEMBERS:
            self._members[slot, :-1] = self._members[slot, 1:]
            count -= 1
        self._members[slot, count] = entry
        self._member_counts[slot] = count + 1

    def create(self, entries: Sequence[int]) -> int:
        """Make a cluster of entries, oldest first, and return its number.

        It takes the next slot whose cluster has no recent member, among the next 16 slots; if all
        have some, the last of them.
        """
        for number in range(self._next_number, self._next_number + _SLOTS_TRIED):
            members = self.members(number)
            if not members or not self._is_recent(members[-1]):
                break
        self._next_number = number + 1
        slot = number % MAX_CLUSTERS
        self._numbers[slot], self._member_counts[slot] = number, 0
        for entry in entries[-MAX_MEMBERS:]:
            self.add(number, entry)
        return number
