"""A hash table that grows bucket by bucket, so that no single insertion takes long.

Extendible hashing (Fagin, Nievergelt, Pippenger, Strong, 1979): the highest bits of a hash select
an entry of the directory, which names a bucket.  A bucket that is full is split in two, and only
the small directory ever doubles.  Within a bucket there is open addressing with linear probing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn, cells_of

HASH_BITS = 32
_LOW = (1 << HASH_BITS) - 1
_SLOTS = 1024
_MASK = _SLOTS - 1
_MOST_IN_BUCKET = _SLOTS // 2


class ExtendibleHash:
    """Finds numbers by 32-bit hashes; the caller says which of several equal hashes it means.

    A slot holds the hash and the number plus one in 64 bits, 0 where it is empty: some 20 bytes a
    number in all.  Hashes must be well spread, as those of `hash(str)` with its random seed are.
    """

    def __init__(self) -> None:
        self._slots = MappedColumn(np.uint64, reserved=1 << 26)
        self._directory: npt.NDArray[np.int32] = np.zeros(1, np.int32)
        self._buckets = cells_of(self._directory)
        self._shift = HASH_BITS  # a hash shifted by it is its place in the directory
        self._depth = [0]  # by bucket: how many of the highest bits its hashes have in common
        self._count: list[int] = [0]  # by bucket
        self._slots.grow(_SLOTS)

    def find(self, hashed: int) -> list[int]:
        """The numbers with this hash."""
        cells = self._slots.cells
        base = self._buckets[hashed >> self._shift] * _SLOTS
        place = hashed & _MASK
        found = []
        while entry := cells[base + place]:
            if entry >> HASH_BITS == hashed:
                found.append((entry & _LOW) - 1)
            place = (place + 1) & _MASK
        return found

    def insert(self, hashed: int, number: int) -> None:
        """Add a number that is not there yet."""
        bucket = self._buckets[hashed >> self._shift]
        while self._count[bucket] >= _MOST_IN_BUCKET:
            self._split(bucket)
            bucket = self._buckets[hashed >> self._shift]
        self._put(bucket * _SLOTS, hashed & _MASK, hashed << HASH_BITS | number + 1)
        self._count[bucket] += 1

    def remove(self, hashed: int, number: int) -> None:
        """Remove a number that is there; later ones move up, so that nothing marks the gap."""
        cells = self._slots.cells
        bucket = self._buckets[hashed >> self._shift]
        base, entry = bucket * _SLOTS, hashed << HASH_BITS | number + 1
        gap = hashed & _MASK
        while cells[base + gap] != entry:
            gap = (gap + 1) & _MASK
        place = (gap + 1) & _MASK
        while entry := cells[base + place]:
            home = (entry >> HASH_BITS) & _MASK
            if (place - home) & _MASK >= (place - gap) & _MASK:
                cells[base + gap] = entry
                gap = place
            place = (place + 1) & _MASK
        cells[base + gap] = 0
        self._count[bucket] -= 1

    def _split(self, bucket: int) -> None:
        """Move half of the hashes of a bucket, those with the next bit set, to a new one."""
        if self._depth[bucket] == HASH_BITS - self._shift:
            self._directory = np.repeat(self._directory, 2)
            self._buckets = cells_of(self._directory)
            self._shift -= 1
        self._depth[bucket] += 1
        new = len(self._count)
        self._depth.append(self._depth[bucket])
        self._count.append(0)
        self._slots.grow((new + 1) * _SLOTS)
        places = np.flatnonzero(self._directory == bucket)
        self._directory[places[len(places) // 2 :]] = new
        old_slots = self._slots.values[bucket * _SLOTS : (bucket + 1) * _SLOTS]
        entries = old_slots[old_slots != 0]
        bit = HASH_BITS + HASH_BITS - self._depth[bucket]
        moves = (entries >> np.uint64(bit)) & np.uint64(1) != 0
        old_slots[:] = 0
        for into, some in ((bucket, entries[~moves]), (new, entries[moves])):
            for entry in some.tolist():
                self._put(into * _SLOTS, entry >> HASH_BITS & _MASK, entry)
            self._count[into] = len(some)

    def _put(self, base: int, place: int, entry: int) -> None:
        """Put an entry into the first free slot of a bucket from a place on."""
        cells = self._slots.cells
        while cells[base + place]:
            place = (place + 1) & _MASK
        cells[base + place] = entry
