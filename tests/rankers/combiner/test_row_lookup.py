"""`RowLookup`: stale entries of the table are never believed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feedmill.rankers.combiner.row_lookup import RowLookup

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
