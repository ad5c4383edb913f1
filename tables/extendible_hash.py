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
_BITS = np.uint64(HASH_BITS)
_LOW = (1 << HASH_BITS) - 1
_SLOTS = 1024
_MASK = _SLOTS - 1
_MOST_IN_BUCKET = _SLOTS // 2

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]


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
        self._count = MappedColumn(np.int32)  # by bucket
        self._count.grow(1)
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

    def find_many(self, hashed: Hashes) -> Numbers:
        """For each hash the first of its numbers, -1 where there is none."""
        slots = self._slots.values
        base, place = self._places(hashed)
        entries = slots[base + place]
        left = np.flatnonzero((entries != 0) & (entries >> _BITS != hashed))
        while len(left):
            place[left] = (place[left] + 1) & _MASK
            entries[left] = others = slots[base[left] + place[left]]
            left = left[(others != 0) & (others >> _BITS != hashed[left])]
        numbers: Numbers = (entries & np.uint64(_LOW)).astype(np.int32) - 1
        return numbers

    def insert(self, hashed: int, number: int) -> None:
        """Add a number that is not there yet."""
        bucket = self._buckets[hashed >> self._shift]
        while self._count.cells[bucket] >= _MOST_IN_BUCKET:
            self._split(bucket)
            bucket = self._buckets[hashed >> self._shift]
        self._put(bucket * _SLOTS, hashed & _MASK, hashed << HASH_BITS | number + 1)
        self._count.cells[bucket] += 1

    def insert_many(self, hashed: Hashes, numbers: Numbers) -> None:
        """Add numbers that are not there yet, each with its hash."""
        while True:
            buckets = self._directory[hashed >> self._shift]
            count = self._count.values + np.bincount(buckets, minlength=len(self._count))
            full = np.flatnonzero(count > _MOST_IN_BUCKET).tolist()
            if not full:
                break
            for bucket in full:
                self._split(bucket)
        self._count.values[:] = count
        self._put_many(hashed << _BITS | (numbers + 1).astype(np.uint64))

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
        self._count.cells[bucket] -= 1

    def _split(self, bucket: int) -> None:
        """Move half of the hashes of a bucket, those with the next bit set, to a new one."""
        if self._depth[bucket] == HASH_BITS - self._shift:
            self._directory = np.repeat(self._directory, 2)
            self._buckets = cells_of(self._directory)
            self._shift -= 1
        self._depth[bucket] += 1
        new = len(self._depth)
        self._depth.append(self._depth[bucket])
        self._count.grow(new + 1)
        self._slots.grow((new + 1) * _SLOTS)
        places = np.flatnonzero(self._directory == bucket)
        self._directory[places[len(places) // 2 :]] = new
        old_slots = self._slots.values[bucket * _SLOTS : (bucket + 1) * _SLOTS]
        entries = old_slots[old_slots != 0]
        bit = HASH_BITS + HASH_BITS - self._depth[bucket]
        moved = np.count_nonzero((entries >> bit) & 1)
        self._count.values[[bucket, new]] = len(entries) - moved, moved
        old_slots[:] = 0
        self._put_many(entries)

    def _put_many(self, entries: Hashes) -> None:
        """Put each entry into the first free slot of its bucket from its place on."""
        slots = self._slots.values
        base, place = self._places(entries >> _BITS)
        while len(entries):
            at = base + place
            is_free = slots[at] == 0
            slots[at[is_free]] = entries[is_free]  # of two with one slot the later is there
            is_left = slots[at] != entries
            entries, base = entries[is_left], base[is_left]
            place = (place[is_left] + 1) & _MASK

    def _places(self, hashed: Hashes) -> tuple[Places, Places]:
        """Of each hash the first slot of its bucket, and its place in the bucket."""
        buckets = self._directory[hashed >> self._shift]
        return buckets.astype(np.int64) * _SLOTS, (hashed & _MASK).astype(np.int64)

    def _put(self, base: int, place: int, entry: int) -> None:
        """Put an entry into the first free slot of a bucket from a place on."""
        cells = self._slots.cells
        while cells[base + place]:
            place = (place + 1) & _MASK
        cells[base + place] = entry
