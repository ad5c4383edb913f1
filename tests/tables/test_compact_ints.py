"""Five bytes a number: every number comes back, near or far."""

from random import Random

import numpy as np
import pytest

from feedmill.tables.compact_ints import CompactInts

LEAST = 1_577_836_800_000
NUMBERS = (
    0,
    LEAST - 1,
    LEAST,
    LEAST + 1,
    LEAST + 2**32 - 1,
    LEAST + 2**32,
    LEAST + 2**40 - 2,
    LEAST + 2**40 - 1,
    LEAST + 2**40,
    2**53 - 1,
    2**63 - 1,
)


@pytest.mark.parametrize("least", [0, LEAST])
@pytest.mark.parametrize("seed", range(3))
def test_every_number_comes_back(least: int, seed: int) -> None:
    random, column, held = Random(seed), CompactInts(least), [least] * 50
    column.grow(50)
    for _ in range(300):
        row, number = random.randrange(50), random.choice(NUMBERS)
        column.set(row, number)
        held[row] = number
        assert [column.get(row) for row in range(50)] == held
        assert column.get_many(np.arange(50, dtype=np.int32)).tolist() == held
    far = {row for row, number in enumerate(held) if not 0 <= number - least < 2**40 - 1}
    assert set(column._elsewhere) == far


def test_a_column_of_the_least_number_takes_no_memory() -> None:
    column = CompactInts()
    column.grow(10)
    column.set(3, 0)
    assert column.used_bytes == 0
    assert column.get_many(np.arange(2, dtype=np.int32)).tolist() == [0, 0]
    column.set(3, 1)
    assert column.used_bytes == 50
    column.set(3, 0)
    assert column.get(3) == 0
