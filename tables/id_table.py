"""A table of ids and their numbers, without a Python object for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from feedmill.tables.extendible_hash import ExtendibleHash, Hashes, Numbers, Places
from feedmill.tables.mapped_column import MappedColumn, in_chunks

Flags = npt.NDArray[np.bool_]

_HASH = (1 << 32) - 1
# For fewer ids, one by one is faster.
_FEW_IDS = 100
BLOCK_BYTES = 1 << 16
# Blocks are rewritten when more than this part of all bytes belongs to ids that are gone.
_GARBAGE_FROM = 0.5


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

    def find_many(self, texts: Sequence[str]) -> list[int]:
        """The number of each id, -1 where it is not known."""
        if len(texts) < _FEW_IDS:
            return [-1 if (number := self.find(text)) is None else number for text in texts]
        found: list[int] = self._find_hashed(texts, _hashes(texts)).tolist()
        return found

    def add_many(self, texts: Sequence[str]) -> list[int]:
        """The number of each id, as `add` gives it one after the other; an id may repeat."""
        if len(texts) < _FEW_IDS:
            return [*map(self.add, texts)]
        hashed = _hashes(texts)
        found = self._find_hashed(texts, hashed)
        unknown = np.flatnonzero(found < 0).tolist()
        if unknown:
            place: dict[str, int] = {}  # of each new id the first one
            for i in unknown:
                place.setdefault(texts[i], i)
            new = [*place.values()]
            given = np.array([self._new_number() for _ in new], np.int32)
            found[new] = given
            self._arena.put_many(given, [*place])
            self._hash.insert_many(hashed[new], given)
            self._count += len(new)
            found[unknown] = found[[place[texts[i]] for i in unknown]]
        numbers: list[int] = found.tolist()
        if self.sweeping.is_running:
            for number in numbers:
                self.sweeping.mark(number)
        return numbers

    def _find_hashed(self, texts: Sequence[str], hashed: Hashes) -> Numbers:
        numbers = self._hash.find_many(hashed)
        known = np.flatnonzero(numbers >= 0)
        is_same = self._arena.hold(numbers[known], [texts[i] for i in known.tolist()])
        for i in known[~is_same].tolist():  # another id has this hash
            number = self.find(texts[i])
            numbers[i] = -1 if number is None else number
        return numbers

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

    def hold(self, numbers: Numbers, texts: Sequence[str]) -> Flags:
        """For each number whether its id is the one in this place."""
        joined, sizes = _joined(texts)
        is_same: Flags = self._size.values[numbers] == sizes
        if not is_same.all():
            same = np.flatnonzero(is_same)
            is_same[same] = self.hold(numbers[same], [texts[i] for i in same.tolist()])
            return is_same
        ends = np.cumsum(sizes)
        shift = self._start.values[numbers] - (ends - sizes)  # from a byte to the one stored
        differ = self._bytes.values[np.arange(len(joined)) + np.repeat(shift, sizes)] != joined
        if differ.any():
            is_same[np.searchsorted(ends, np.flatnonzero(differ), "right")] = False
        return is_same

    def holds(self, number: int, text: bytes) -> bool:
        """Whether the id of this number is this one."""
        start, size = self._start.cells[number], self._size.cells[number]
        return size == len(text) and self._bytes.cells[start : start + size] == text

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

    def put_many(self, numbers: Numbers, texts: Sequence[str]) -> None:
        """Set the ids of numbers that have none."""
        joined, sizes = _joined(texts)
        most = in_chunks(int(numbers.max()) + 1)
        self._start.grow(most)
        self._size.grow(most)
        self._size.values[numbers] = sizes
        ends = np.cumsum(sizes)
        first = begin = 0  # of the ids and bytes that are still to be put
        while first < len(numbers):
            self._have_room(int(sizes[first]))
            start = self._block * BLOCK_BYTES + self._filled - begin
            room = begin + BLOCK_BYTES - self._filled
            behind = int(np.searchsorted(ends, room, "right"))
            end = int(ends[behind - 1])
            self._bytes.values[start + begin : start + end] = joined[begin:end]
            self._start.values[numbers[first:behind]] = start + (ends - sizes)[first:behind]
            self._filled += end - begin
            self._live[self._block] += end - begin
            self._live_bytes += end - begin
            first, begin = behind, end

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


def _joined(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], Places]:
    """The bytes of ids back to back, and how many each has."""
    joined = encode("".join(texts))
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    if len(joined) > sizes.sum():
        sizes = np.fromiter((len(encode(text)) for text in texts), np.int64, len(texts))
    return np.frombuffer(joined, np.uint8), sizes


def _hashes(texts: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, texts), np.int64, len(texts)).astype(np.uint64) & np.uint64(_HASH)
