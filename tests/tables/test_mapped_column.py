"""Columns in reserved memory: what is in them survives every growth, and none copies."""

import mmap
from typing import Any

import numpy as np
import pytest

from feedmill.tables import mapped_column
from feedmill.tables.mapped_column import CHUNK_ROWS, MappedColumn, in_chunks


def test_new_rows_hold_the_fill_value_and_old_ones_what_they_held() -> None:
    column = MappedColumn(np.int32, -1)
    column.grow(3)
    column.values[1] = 7
    column.grow(2)  # less than there is: nothing changes
    assert column.values.tolist() == [-1, 7, -1]
    column.grow(5)
    assert column.values.tolist() == [-1, 7, -1, -1, -1]
    assert (len(column), column.values.nbytes) == (5, 20)


def test_growth_within_the_reservation_copies_nothing() -> None:
    column = MappedColumn(np.float64)
    column.grow(2)
    before = column.values
    column.grow(100_000)
    before[1] = 0.5
    assert column.values[1] == 0.5


def test_cells_and_values_are_the_same_memory() -> None:
    column = MappedColumn(np.int64)
    column.grow(4)
    column.cells[2] = -(2**40)
    assert column.values[2] == -(2**40)
    column.values[3] = 9
    assert column.cells[3] == 9
    assert type(column.cells[3]) is int


def test_beyond_the_reservation_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_column, "RESERVED_ROWS", 1 << 14)
    column = MappedColumn(np.int64, 3)
    column.grow(1 << 14)
    column.values[:] = np.arange(1 << 14)
    for capacity in (1 << 15, 1 << 17):
        column.grow(capacity)
        assert column.values[: 1 << 14].tolist() == list(range(1 << 14))
        assert (column.values[1 << 14 :] == 3).all()
        assert len(column) == capacity


def test_a_system_that_grants_little_address_space_is_asked_for_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, granted = mmap.mmap, []

    def strict(fileno: int, size: int, **flags: Any) -> mmap.mmap:
        if size > 1 << 20:
            raise OSError(12, "Cannot allocate memory")
        granted.append(size)
        return real(fileno, size, **flags)

    monkeypatch.setattr(mmap, "mmap", strict)
    column = MappedColumn(np.int64)
    column.grow(10_000)
    assert granted == [1 << 20]
    with pytest.raises(OSError, match="Cannot allocate memory"):
        column.grow(1 << 20)  # eight megabytes are more than it ever grants


def test_chunks_are_whole() -> None:
    assert [in_chunks(n) for n in (0, 1, CHUNK_ROWS, CHUNK_ROWS + 1)] == [
        0,
        CHUNK_ROWS,
        CHUNK_ROWS,
        2 * CHUNK_ROWS,
    ]


def test_rows_that_are_filled_by_others_hold_zero_until_then() -> None:
    column = MappedColumn(np.float64, 7)
    column.grow(2, is_filled=False)
    column.grow(3)
    assert column.values.tolist() == [0, 0, 7]
