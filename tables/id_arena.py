"""The text of many ids, back to back in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.tables.mapped_column import MappedColumn, in_chunks

Numbers = npt.NDArray[np.int32]
Sizes = npt.NDArray[np.int64]

BLOCK_BYTES = 1 << 16
# Blocks are rewritten when more than this part of all bytes belongs to ids that are gone.
_GARBAGE_FROM = 0.5


class IdArena:
    """Ids by number, as UTF-8.

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

    @property
    def used_bytes(self) -> int:
        """The bytes of all columns."""
        return self._bytes.used_bytes + self._start.used_bytes + self._size.used_bytes

    def read(self, number: int) -> str:
        """The id of this number; "" where there is none."""
        start = self._start.cells[number]
        text = self._bytes.cells[start : start + self._size.cells[number]]
        return str(text, "utf-8", "surrogatepass")

    def read_many(self, numbers: Numbers) -> list[str]:
        """The ids of these numbers, as `read` gives each."""
        sizes = self._size.values[numbers].astype(np.int64)
        joined, ends = self._bytes_of(numbers, sizes).tobytes(), np.cumsum(sizes)
        parts = zip((ends - sizes).tolist(), ends.tolist(), strict=True)
        if joined.isascii():
            text = joined.decode()
            return [text[start:end] for start, end in parts]
        return [str(joined[start:end], "utf-8", "surrogatepass") for start, end in parts]

    def holds(self, number: int, text: bytes) -> bool:
        """Whether the id of this number is this one."""
        size = self._size.cells[number]
        if size != len(text):
            return False
        start = self._start.cells[number]
        return bytes(self._bytes.cells[start : start + size]) == text

    def hold(self, numbers: Numbers, joined: bytes, sizes: Sizes) -> npt.NDArray[np.bool_]:
        """For each number whether its id is the one at its place in `joined`."""
        same: npt.NDArray[np.bool_] = self._size.values[numbers] == sizes
        size = int(sizes.max(initial=0))
        is_usual = size > 0 and same.all() and (sizes == size).all()
        # Most often ids are equally long and all are the same: no index of every byte then.
        if is_usual and self._equally_long(numbers, size) == joined:
            return same
        text = np.frombuffer(joined, np.uint8)
        if not same.all():
            text, numbers, sizes = text[np.repeat(same, sizes)], numbers[same], sizes[same]
        if len(numbers):
            equal = self._bytes_of(numbers, sizes) == text
            if not equal.all():
                same[same] = np.logical_and.reduceat(equal, np.cumsum(sizes) - sizes)
        return same

    def _equally_long(self, numbers: Numbers, size: int) -> bytes:
        """The bytes of the ids of these numbers, of so many each, one after the other."""
        count = len(self._bytes) - size + 1
        everywhere = np.ndarray((count,), f"V{size}", self._bytes.values.data, 0, (1,))
        return everywhere[self._start.values[numbers]].tobytes()

    def _bytes_of(self, numbers: Numbers, sizes: Sizes) -> npt.NDArray[np.uint8]:
        """The bytes of the ids of these numbers, one after the other."""
        starts = self._start.values[numbers] - (np.cumsum(sizes) - sizes)
        places = np.repeat(starts, sizes)
        places += np.arange(len(places))
        text: npt.NDArray[np.uint8] = self._bytes.values.take(places)
        return text

    def put(self, number: int, text: bytes) -> None:
        """Set the id of a number that has none."""
        self._have_rows(number + 1)
        self._have_room(len(text))
        start = self._block * BLOCK_BYTES + self._filled
        self._bytes.cells[start : start + len(text)] = text
        self._start.cells[number] = start
        self._size.cells[number] = len(text)
        self._took(len(text))

    def put_many(self, numbers: Numbers, joined: bytes, sizes: Sizes) -> None:
        """Set the ids of numbers that have none; `joined` is their bytes one after the other."""
        if not len(numbers):
            return
        self._have_rows(int(numbers.max()) + 1)
        self._size.values[numbers] = sizes
        ends = np.cumsum(sizes)
        done, begin = 0, 0
        while done < len(numbers):
            self._have_room(int(sizes[done]))
            room = BLOCK_BYTES - self._filled
            fitting = int(np.searchsorted(ends, begin + room, "right"))
            end, start = int(ends[fitting - 1]), self._block * BLOCK_BYTES + self._filled
            self._bytes.cells[start : start + end - begin] = joined[begin:end]
            part = slice(done, fitting)
            self._start.values[numbers[part]] = start + ends[part] - sizes[part] - begin
            self._took(end - begin)
            done, begin = fitting, end

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

        It takes about a millisecond at a million ids.  Returns whether it did anything.
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
        numbers = np.flatnonzero(inside).astype(np.int32)
        sizes = self._size.values[numbers].astype(np.int64)
        self.put_many(numbers, self._bytes_of(numbers, sizes).tobytes(), sizes)
        self._live_bytes -= self._live[block]
        self._live[block] = 0
        self._free_blocks.append(block)
        return True

    def _have_rows(self, count: int) -> None:
        if count > len(self._size):
            self._start.grow(in_chunks(count))
            self._size.grow(in_chunks(count))

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

    def _took(self, size: int) -> None:
        self._filled += size
        self._live[self._block] += size
        self._live_bytes += size


def encode(text: str) -> bytes:
    """An id's bytes."""
    return text.encode("utf-8", "surrogatepass")


def encode_many(texts: Sequence[str]) -> tuple[bytes, Sizes]:
    """The bytes of ids one after the other, and how many each has."""
    joined = "".join(texts)
    if joined.isascii():
        return joined.encode(), _sizes_of(texts)
    parts = [encode(text) for text in texts]
    return b"".join(parts), _sizes_of(parts)


def _sizes_of(texts: Sequence[str | bytes]) -> Sizes:
    """The length of each text."""
    lengths = [*map(len, texts)]
    if lengths and lengths.count(lengths[0]) == len(lengths):
        return np.full(len(lengths), lengths[0], np.int64)
    return np.array(lengths, np.int64)
