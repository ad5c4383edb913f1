"""Finds earlier entries of a ring buffer by key, and by cluster, in fixed memory.

Entries are numbered by a uint32 sequence that wraps.  An entry can be found while it is at most
`reach` older than the entry that looks for it.  `BucketHeads` and `HashIndex` insert a whole batch
at once, so the ring must be longer than `reach` plus the largest batch.

Clusters are of posts with similar texts: where to look for more copies than the nearest one.  Each
keeps its last `MAX_MEMBERS` members, and there are `MAX_CLUSTERS` slots.  A new cluster replaces
one without recent members where it finds such a one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import Indices

Sequence32 = npt.NDArray[np.uint32]
# For so few buckets, a set finds out faster than a sort that no two are equal.
_FEW_BUCKETS = 32


class BucketHeads:
    """The newest entry of each bucket."""

    def __init__(self, buckets: int, first: int) -> None:
        # An empty bucket holds an entry out of reach: half the number space older than `first`.
        self._newest = np.full(buckets, (first + (1 << 31)) % (1 << 32), dtype=np.uint32)

    def push_one(self, buckets: Indices | list[int], entry: int) -> list[int]:
        """Make one entry the newest of buckets that differ; return what was the newest of each."""
        previous: list[int] = self._newest[buckets].tolist()
        self._newest[buckets] = entry
        return previous

    def push(self, buckets: Indices, sequence: Sequence32) -> Sequence32:
        """Make entries the newest of their buckets, in order.

        Parameters
        ----------
        buckets
            (n,) the bucket of each entry.
        sequence
            (n,) the entries, oldest first.

        Returns
        -------
        (n,) what was the newest entry of the bucket just before each of them, from this batch or
        an earlier one; an entry out of reach where there was none.
        """
        if len(buckets) <= _FEW_BUCKETS and len(set(buckets.tolist())) == len(buckets):
            previous: Sequence32 = self._newest[buckets]
            self._newest[buckets] = sequence
            return previous
        order = np.argsort(buckets, kind="stable")
        ordered, entries = buckets[order], sequence[order]
        is_first = np.append(True, ordered[1:] != ordered[:-1])
        before = np.empty_like(entries)
        before[1:] = entries[:-1]
        before[is_first] = self._newest[ordered[is_first]]
        is_last = np.append(is_first[1:], True)
        self._newest[ordered[is_last]] = entries[is_last]
        previous = np.empty_like(before)
        previous[order] = before
        return previous


class HashIndex:
    """The newest earlier entry of a key: a hash table whose buckets are linked lists of entries.

    Parameters
    ----------
    bits
        The ring has 2**bits entries, the hash table as many buckets.
    reach
        How many entries older a match may be; less than 2**bits by at least the largest batch.
    first
        The first sequence number.
    """

    def __init__(self, bits: int, reach: int, first: int) -> None:
        self._mask = (1 << bits) - 1
        self._reach = reach
        self._heads = BucketHeads(1 << bits, first)
        self._next = np.full(1 << bits, 0, dtype=np.uint32)
        self._keys = np.full(1 << bits, 0, dtype=np.int64)

    def insert(self, keys: Indices, sequence: Sequence32) -> tuple[Indices, Sequence32]:
        """Insert (n,) entries under (n,) keys, oldest first.

        Returns
        -------
        The rows that have an earlier entry of the same key within reach, in no order, and that
        entry of each, the newest one.  It may belong to this batch.
        """
        slots = sequence & self._mask
        candidates = self._heads.push((keys ^ (keys >> 29)) & self._mask, sequence)
        self._next[slots], self._keys[slots] = candidates, keys
        return self._matches(keys, sequence, candidates)

    def insert_one(self, key: int, entry: int) -> int | None:
        """Insert one entry; return the newest earlier entry of its key within reach, or None."""
        slot = entry & self._mask
        (candidate,) = self._heads.push_one([(key ^ (key >> 29)) & self._mask], entry)
        self._next[slot], self._keys[slot] = candidate, key
        while (entry - candidate - 1) % (1 << 32) < self._reach:
            at = candidate & self._mask
            if self._keys[at] == key:
                return candidate
            candidate = self._next.item(at)
        return None

    def _matches(
        self, keys: Indices, sequence: Sequence32, candidates: Sequence32
    ) -> tuple[Indices, Sequence32]:
        """Walk all lists at once, from each candidate back to the first entry of the same key."""
        rows = np.arange(len(keys))
        matched_rows, matches = [], []
        while len(rows):
            is_reachable = sequence[rows] - candidates - np.uint32(1) < self._reach
            rows, candidates = rows[is_reachable], candidates[is_reachable]
            is_match = self._keys[candidates & self._mask] == keys[rows]
            matched_rows.append(rows[is_match])
            matches.append(candidates[is_match])
            rows, candidates = rows[~is_match], self._next[candidates[~is_match] & self._mask]
        if not matches:
            return rows, candidates
        return np.concatenate(matched_rows), np.concatenate(matches)


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
