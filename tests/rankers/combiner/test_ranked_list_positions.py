"""Where posts stand: stale entries are never believed, and of equal scores few ids are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.rankers.combiner.ranked_list import PostMove, RankedList, RowLookup

row_lists = st.lists(st.integers(-1, 50), max_size=20, unique=True)


@given(st.lists(st.tuples(row_lists, row_lists), max_size=10), st.integers(1, 9000))
def test_every_row_is_found_where_it_stands(
    pairs: list[tuple[list[int], list[int]]], by: int
) -> None:
    lookup = RowLookup()
    for drawn in pairs:
        rows, among = ([row * by if row >= 0 else -1 for row in each] for each in drawn)
        found = lookup.find(np.array(rows, np.int32), np.array(among, np.int32))
        expected = [among.index(row) if row >= 0 and row in among else -1 for row in rows]
        assert found.tolist() == expected


class CountedIds:
    """Post ids by row, that count how often one is read."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self.read = 0

    def __getitem__(self, row: int) -> str:
        self.read += 1
        return self.ids[row]


@pytest.mark.parametrize("count", [500, 10_000])
def test_posts_among_ties_are_placed_by_few_ids_and_one_of_them_is_one_move(count: int) -> None:
    ids = CountedIds([f"{number:06}" for number in range(2 * count)])
    ranked = RankedList(count, None, ids)
    even = np.arange(0, 2 * count, 2, dtype=np.int32)
    ranked.update(even, np.ones(count), even)
    ranked.take_move()
    ids.read = 0
    row = 2 * (count // 3) + 1
    assert ranked.update_one(row, 1.0, row)
    at = count - count // 3 - 1
    assert ranked.take_move() == PostMove(-1, at)
    ranked.update_one(row, 2.0, row)
    ranked.update_one(row, 1.0, row)
    assert ids.read < 60
    assert ranked.rows[at - 1 : at + 2].tolist() == [row + 1, row, row - 1]
    ids.read = 0
    rows = np.array([7, 901, 3, 555], np.int32)
    ranked.update(rows, np.ones(4), rows)
    assert ids.read < 100
    in_list = ranked.rows.tolist()
    assert in_list == sorted(in_list, reverse=True)
