"""Finds earlier entries of a ring by a key, in fixed memory: hashed chains of sequence numbers.

Sequence numbers are uint32 and wrap; an entry is reachable while it is at most `reach` older than
who asks.  Whoever overwrites a ring of more than `reach` + the largest batch entries may do so
before asking.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import Indices

Sequence32 = npt.NDArray[np.uint32]
# So many buckets are sooner seen to be all different than sorted.
_FEW = 32


class BucketHeads:
    """The last entry of each bucket."""

    def __init__(self, buckets: int, first: int) -> None:
        # Nothing that is `first` or newer reaches back to half the number space before it.
        self._last = np.full(buckets, (first + (1 << 31)) % (1 << 32), dtype=np.uint32)

    def link(self, buckets: Indices, sequence: Sequence32) -> Sequence32:
        """Enter (n,) entries in order; for each, what was last in its bucket just before it."""
        if len(buckets) <= _FEW and len(set(buckets.tolist())) == len(buckets):
            alone: Sequence32 = self._last[buckets]
            self._last[buckets] = sequence
            return alone
        order = np.argsort(buckets, kind="stable")
        ordered, entered = buckets[order], sequence[order]
        starts = np.append(True, ordered[1:] != ordered[:-1])
        before = np.empty_like(entered)
        before[1:] = entered[:-1]
        before[starts] = self._last[ordered[starts]]
        ends = np.append(starts[1:], True)
        self._last[ordered[ends]] = entered[ends]
        found = np.empty_like(before)
        found[order] = before
        return found


class HashIndex:
    """All reachable entries of a key, newest first.

    Parameters
    ----------
    bits
        The ring has 2**bits entries, and as many buckets.
    reach
        How much older an entry may be; less than 2**bits by the largest batch.
    first
        The first sequence number.
    """

    def __init__(self, bits: int, reach: int, first: int) -> None:
        self._mask = (1 << bits) - 1
        self._reach = reach
        self._heads = BucketHeads(1 << bits, first)
        self._next = np.zeros(1 << bits, dtype=np.uint32)
        self._keys = np.zeros(1 << bits, dtype=np.int64)

    def enter(self, keys: Indices, sequence: Sequence32) -> Sequence32:
        """Enter (n,) keys; the newest older entry of each bucket, where `follow` starts."""
        slots = sequence & self._mask
        before = self._heads.link((keys ^ (keys >> 29)) & self._mask, sequence)
        self._next[slots], self._keys[slots] = before, keys
        return before

    def follow(
        self, keys: Indices, sequence: Sequence32, at: Sequence32
    ) -> tuple[Indices, Sequence32]:
        """Go from `at` to the nearest entry of the same key; (rows that have one, entries)."""
        rows = np.arange(len(keys))
        found_rows, found = [], []
        while len(rows):
            reachable = sequence[rows] - at - np.uint32(1) < self._reach
            rows, at = rows[reachable], at[reachable]
            same = self._keys[at & self._mask] == keys[rows]
            found_rows.append(rows[same])
            found.append(at[same])
            rows, at = rows[~same], self._next[at[~same] & self._mask]
        if not found:
            return rows, at
        return np.concatenate(found_rows), np.concatenate(found)
