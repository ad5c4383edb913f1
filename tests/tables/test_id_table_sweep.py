"""A number is handed out only if nothing refers to it, then or since."""

import numpy as np

from feedmill.tables.id_table import Sweep


def numbers(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, np.int32)


def test_what_is_unused_is_handed_out_once_in_slices() -> None:
    sweep = Sweep()
    assert not sweep.is_running
    sweep.begin(9)
    sweep.mark_all(numbers(4, -1))
    sweep.mark_all(numbers(2, 4, 9, 50))  # the last two came since the beginning
    slices: list[list[int]] = []
    while sweep.is_running:
        slices.append(sweep.next_unused(3))
    assert slices == [[0, 1, 3], [5, 6, 7], [8]]
    assert sweep.next_unused(3) == []


def test_a_slice_of_none_does_not_move() -> None:
    sweep = Sweep()
    sweep.begin(2)
    assert sweep.next_unused(0) == []
    assert sweep.next_unused(5) == [0, 1]


def test_what_came_into_use_since_is_not_handed_out() -> None:
    sweep = Sweep()
    sweep.begin(8)
    assert sweep.next_unused(2) == [0, 1]
    sweep.mark(2)
    for number in (0, 5, 8, 50):  # the last two came since the beginning
        sweep.mark(number)
    assert sweep.next_unused(9) == [3, 4, 6, 7]


def test_minus_one_stands_for_no_number() -> None:
    sweep = Sweep()
    sweep.begin(2)
    sweep.mark_all(numbers(-1))
    assert sweep.next_unused(9) == [0, 1]
