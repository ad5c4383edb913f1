"""Columns that grow without being copied: numpy arrays over reserved memory."""

from __future__ import annotations

import mmap
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)

# Address space of each column, not memory: the system gives a page when it is first written.
RESERVED_ROWS = 1 << 24
# Rows are added in chunks, which makes a growth rare and its cost small.
CHUNK_ROWS = 8192
_LEAST_BYTES = 1 << 16


def in_chunks(rows: int) -> int:
    """The number of rows, rounded up to whole chunks."""
    return -(-rows // CHUNK_ROWS) * CHUNK_ROWS


class MappedColumn(Generic[Scalar]):
    """An array that grows in place, so that no growth at a million rows holds the loop.

    Beyond the reservation, or where the system grants less address space, it moves to a larger
    one, with a copy.

    Attributes
    ----------
    values
        Shape (n,), n as of the last `grow`; not to be kept beyond the next.
    cells
        The same memory for plain Python: a single number is read and written in a third of the
        time.
    """

    def __init__(
        self,
        dtype: type[Scalar] | np.dtype[Scalar],
        fill: float = 0,
        reserved: int | None = None,
    ) -> None:
        self._dtype: np.dtype[Scalar] = np.dtype(dtype)
        self._fill = fill
        self._reserved = _reserve(
            self._dtype, RESERVED_ROWS if reserved is None else reserved, least=0
        )
        self.values: npt.NDArray[Scalar] = self._reserved[:0]
        self.cells: memoryview[Any] = cells_of(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def grow(self, capacity: int, *, is_filled: bool = True) -> None:
        """Have at least `capacity` rows; new ones hold the fill value, or 0 unless `is_filled`.

        To fill ten million rows of 8 bytes takes some 90 ms.
        """
        size = len(self.values)
        if capacity <= size:
            return
        if capacity > len(self._reserved):
            wider = _reserve(self._dtype, 2 * capacity, least=2 * capacity)
            wider[:size] = self.values
            self._reserved = wider
        self.values = self._reserved[:capacity]
        self.cells = cells_of(self.values)
        if self._fill != 0 and is_filled:
            self.values[size:] = self._fill


def cells_of(values: npt.NDArray[Any]) -> memoryview[Any]:
    """The same memory for plain Python."""
    return memoryview(cast("Any", values))


def _reserve(dtype: np.dtype[Any], rows: int, least: int) -> npt.NDArray[Any]:
    """Zeros, shape (`rows`,), or as many as the system grants, that take no memory yet."""
    needed = max(dtype.itemsize * least, _LEAST_BYTES)
    size = max(dtype.itemsize * rows, needed)
    while True:
        try:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        except OSError:
            # Some systems promise no more memory than they have.
            if size // 2 < needed:
                raise
            size //= 2
        else:
            break
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # Else the first row of each column could take two megabytes.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype)
