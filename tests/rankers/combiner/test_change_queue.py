"""What changed: each row once, in the order of its first change, with all its bits."""

from random import Random

import numpy as np
import pytest

from feedmill.rankers.combiner.change_queue import ChangeQueue


@pytest.mark.parametrize("seed", range(3))
def test_rows_come_once_in_order_with_all_their_bits(seed: int) -> None:
    random, queue, waiting = Random(seed), ChangeQueue(12), dict[int, int]()
    queue.grow(100)
    for _ in range(400):
        mask = 1 << random.randrange(12)
        if random.random() < 0.4:
            row = random.randrange(100)
            queue.add(row, mask)
            waiting[row] = waiting.get(row, 0) | mask
        elif random.random() < 0.5:
            rows = random.sample(range(100), k=random.choice((0, 3, 30)))
            queue.add_many(np.array(rows, np.int32), mask)
            for row in rows:
                waiting[row] = waiting.get(row, 0) | mask
        else:
            most = random.choice((1, 10, None))
            taken, masks = queue.take(most)
            expected = list(waiting.items())[:most]
            assert list(zip(taken.tolist(), masks.tolist(), strict=True)) == expected
            waiting = dict(list(waiting.items())[len(expected) :])
        assert len(queue) == len(waiting)


@pytest.mark.parametrize("bits", [7, 8, 15, 16, 31, 32, 63])
def test_the_highest_bit_is_kept(bits: int) -> None:
    queue = ChangeQueue(bits)
    queue.grow(2)
    queue.add(0, 1 << (bits - 1))
    queue.add_many(np.array([0, 1], np.int32), 1)
    rows, masks = queue.take()
    assert rows.tolist() == [0, 1]
    assert masks.tolist() == [1 << (bits - 1) | 1, 1]
    assert queue.take()[0].tolist() == []


def test_a_mask_of_few_signals_takes_one_byte_a_row() -> None:
    queue = ChangeQueue(6)
    queue.grow(1000)
    assert queue.used_bytes == 1000
