"""The rows of each number, against a dict."""

from random import Random

import numpy as np
import pytest

from feedmill.tables.grouped_rows import GroupedRows


def numbers_of(grouped: GroupedRows, numbers: int) -> dict[int, set[int]]:
    return {n: {*grouped.rows_of(np.array([n])).tolist()} for n in range(numbers)}


@pytest.mark.parametrize("seed", range(8))
def test_rows_stand_with_their_number(seed: int) -> None:
    random, grouped, wanted = Random(seed), GroupedRows(), dict[int, int]()
    if seed % 2:
        built = np.array([random.randrange(-1, 6) for _ in range(60)], np.int32)
        grouped.build(built)
        wanted = {row: int(n) for row, n in enumerate(built) if n >= 0}
    grouped.grow(100, 40)
    for _ in range(3_000):
        rows = random.sample(range(100), k=random.randrange(1, 9))
        few = random.choice((2, 40))
        numbers = [random.randrange(-1, few) for _ in rows]
        grouped.move_all(np.array(rows, np.int32), np.array(numbers, np.int32))
        wanted |= dict(zip(rows, numbers, strict=True))
    by_number = {n: {row for row, m in wanted.items() if m == n} for n in range(40)}
    assert numbers_of(grouped, 40) == by_number
    assert [int(n) for n in grouped.size.values[:40]] == [len(by_number[n]) for n in range(40)]
    assert sorted(grouped.rows_of(np.arange(40)).tolist()) == sorted(
        row for row, n in wanted.items() if n >= 0
    )
    assert grouped.rows_of(np.array([], np.int64)).tolist() == []
