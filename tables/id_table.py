"""A table of ids and their numbers, without a Python object for each.

Its hash table grows bucket by bucket, so that no single insertion takes long.  Extendible hashing
(Fagin, Nievergelt, Pippenger, Strong, 1979): the highest bits of a hash select an entry of the
directory, which names a bucket.  A bucket that is full is split in two, and only the small
directory ever doubles.  Within a bucket there is open addressing with linear probing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn, cells_of, in_chunks
from feedmill.tables.sweep import Sweep

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


Numbers = npt.NDArray[np.int32]

_HASH = (1 << 32) - 1
BLOCK_BYTES = 1 << 16
# Blocks are rewritten when more than this part of all bytes belongs to ids that are gone.
_GARBAGE_FROM = 0.5


class IdTable:
    """Ids, at most 256 bytes each, and a number for each, low ones first.

    A number goes through two steps when its id is not needed any more: after `forget` it is not
    found, but still has its text; after `recycle` it may stand for another id.

    Attributes
    ----------
    bound
        Every number given so far is below it.
    sweeping
        Which numbers nothing refers to; `add` tells it what comes into use.
    """

    def __init__(self) -> None:
        self.bound = 0
        self.sweeping = Sweep()
        self._arena = IdArena()
        self._hash = ExtendibleHash()
        self._spare = array("i")
        self._count = 0

    def __len__(self) -> int:
        """How many ids are found."""
        return self._count

    def __getitem__(self, number: int) -> str:
        """The id of this number, "" where it has none."""
        return self._arena.read(number) if number < self.bound else ""

    def read_many(self, numbers: Numbers) -> list[str]:
        """The id of each number; they are of ids that were added."""
        return self._arena.read_many(numbers.tolist())

    def find(self, text: str) -> int | None:
        """The number of an id that is known, else None."""
        candidates = self._hash.find(hash(text) & _HASH)
        if candidates:
            encoded = encode(text)
            for number in candidates:
                if self._arena.holds(number, encoded):
                    return number
        return None

    def add(self, text: str) -> int:
        """The number of an id, a new one if it is new."""
        number = self.find(text)
        if number is None:
            number = self._new_number()
            self._arena.put(number, encode(text))
            self._hash.insert(hash(text) & _HASH, number)
            self._count += 1
        if self.sweeping.is_running:
            self.sweeping.mark(number)
        return number

    def forget(self, number: int) -> None:
        """Have the id of this number not found any more."""
        self._hash.remove(hash(self[number]) & _HASH, number)
        self._count -= 1

    def recycle(self, number: int) -> None:
        """Let a number that was forgotten stand for another id some time."""
        self._arena.drop(number)
        self._spare.append(number)

    def sweep(self, most: int) -> int:
        """Forget at most `most` ids that `sweeping` finds unused; returns how many it forgot."""
        unused = [number for number in self.sweeping.next_unused(most) if self[number]]
        for number in unused:
            self.forget(number)
            self.recycle(number)
        self.tidy()
        return len(unused)

    def tidy(self) -> None:
        """Move some text if that saves memory; call it about once in a thousand recycled ids."""
        self._arena.tidy()

    def _new_number(self) -> int:
        if self._spare:
            return self._spare.pop()
        self.bound += 1
        return self.bound - 1


class IdArena:
    """Ids by number, as UTF-8, back to back in one piece of memory.

    The bytes are in blocks of 64 kB.  A block whose ids are all gone is used again.  Where others
    keep too many blocks half empty, `tidy` moves the ids of one such block to the end.
    """

    def __init__(self) -> None:
        self._bytes = MappedColumn(np.uint8, reserved=1 << 31)
        self._start = MappedColumn(np.uint32)
        self._size = MappedColumn(np.uint16)
        self._live: list[int] = []  # bytes of ids that are there, by block
        self._free_blocks: list[int] = []
        self._block = -1  # the block that is being filled, and how far
        self._filled = BLOCK_BYTES
        self._live_bytes = 0

    def read(self, number: int) -> str:
        """The id of this number; "" where there is none."""
        start = self._start.cells[number]
        text = self._bytes.cells[start : start + self._size.cells[number]]
        return str(text, "utf-8", "surrogatepass")

    def read_many(self, numbers: Iterable[int]) -> list[str]:
        """The ids of these numbers, as `read` gives each."""
        starts, sizes, text = self._start.cells, self._size.cells, self._bytes.cells
        return [
            str(text[(start := starts[n]) : start + sizes[n]], "utf-8", "surrogatepass")
            for n in numbers
        ]

    def holds(self, number: int, text: bytes) -> bool:
        """Whether the id of this number is this one."""
        return self._size.cells[number] == len(text) and self._text(number) == text

    def put(self, number: int, text: bytes) -> None:
        """Set the id of a number that has none."""
        if number >= len(self._size):
            self._start.grow(in_chunks(number + 1))
            self._size.grow(in_chunks(number + 1))
        self._have_room(len(text))
        start = self._block * BLOCK_BYTES + self._filled
        self._bytes.cells[start : start + len(text)] = text
        self._start.cells[number] = start
        self._size.cells[number] = len(text)
        self._filled += len(text)
        self._live[self._block] += len(text)
        self._live_bytes += len(text)

    def drop(self, number: int) -> None:
        """Forget the id of a number."""
        size = self._size.cells[number]
        self._size.cells[number] = 0
        block = self._start.cells[number] // BLOCK_BYTES
        self._live[block] -= size
        self._live_bytes -= size
        if not self._live[block] and block != self._block:
            self._free_blocks.append(block)

    def tidy(self) -> bool:
        """Move the ids of the emptiest block, if too many bytes are of ids that are gone.

        It takes some milliseconds at a million ids.  Returns whether it did anything.
        """
        in_use = (len(self._live) - len(self._free_blocks)) * BLOCK_BYTES
        if in_use <= 2 * BLOCK_BYTES or self._live_bytes > (1 - _GARBAGE_FROM) * in_use:
            return False
        filled = (b for b, live in enumerate(self._live) if live and b != self._block)
        block = min(filled, key=self._live.__getitem__, default=None)
        if block is None:
            return False
        begin = block * BLOCK_BYTES
        start = self._start.values
        inside = (start >= begin) & (start < begin + BLOCK_BYTES) & (self._size.values > 0)
        for number in np.flatnonzero(inside).tolist():
            self.put(number, self._text(number))
        self._live_bytes -= self._live[block]
        self._live[block] = 0
        self._free_blocks.append(block)
        return True

    def _text(self, number: int) -> bytes:
        start = self._start.cells[number]
        return bytes(self._bytes.cells[start : start + self._size.cells[number]])

    def _have_room(self, size: int) -> None:
        """Go on in another block if the present one has no room for so many bytes."""
        if self._filled + size <= BLOCK_BYTES:
            return
        if self._block >= 0 and not self._live[self._block]:
            self._free_blocks.append(self._block)
        if self._free_blocks:
            self._block = self._free_blocks.pop()
        else:
            self._block = len(self._live)
            self._live.append(0)
            self._bytes.grow(len(self._live) * BLOCK_BYTES)
        self._filled = 0


def encode(text: str) -> bytes:
    """An id's bytes."""
    return text.encode("utf-8", "surrogatepass")
