"""Equal scores: in descending order of ids, and few of them are read."""

import numpy as np
import pytest

from feedmill.rankers.combiner.ranked_list import Move, RankedList
from feedmill.rankers.combiner.ties import order_of_ties, place_of


class CountedIds:
    """Post ids by row, that count how often one is read."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self.read = 0

    def __getitem__(self, row: int) -> str:
        self.read += 1
        return self.ids[row]


def tied_list(count: int, size: int) -> tuple[RankedList, CountedIds]:
    """A list whose posts, of even ids, all have one score; those of odd ids are not in it."""
    ids = CountedIds([f"{number:06}" for number in range(2 * count)])
    ranked = RankedList(size, None, ids)
    rows = np.arange(0, 2 * count, 2, dtype=np.int32)
    ranked.update(rows, np.ones(count), rows)
    ranked.take_move()
    ids.read = 0
    return ranked, ids


@pytest.mark.parametrize("count", [500, 10_000])
def test_a_post_among_ties_is_placed_by_few_ids_and_is_one_move(count: int) -> None:
    ranked, ids = tied_list(count, count)
    row = 2 * (count // 3) + 1
    assert ranked.update_one(row, 1.0, row)
    assert ids.read < 20
    at = count - count // 3 - 1
    assert ranked.take_move() == Move(-1, at)
    assert ranked.rows[at - 1 : at + 2].tolist() == [row + 1, row, row - 1]
    ids.read = 0
    ranked.update_one(row, 2.0, row)
    ranked.update_one(row, 1.0, row)
    assert ids.read < 40
    assert ranked.rows.item(at) == row


def test_some_posts_among_many_ties_read_each_id_once_at_most() -> None:
    ranked, ids = tied_list(10_000, 10_000)
    rows = np.array([7, 9001, 3, 15_555], np.int32)
    ranked.update(rows, np.ones(4), rows)
    assert ids.read < 100
    in_list = ranked.rows.tolist()
    assert in_list == sorted(in_list, reverse=True)


def test_a_place_is_behind_greater_scores_and_greater_ids() -> None:
    rows, scores = np.array([5, 4, 2, 0], np.int32), np.array([3.0, 1.0, 1.0, 0.0])
    ids = ["0", "1", "2", "3", "4", "5"]
    places = [place_of(ids, 3, score, rows, scores) for score in (4.0, 3.0, 2.0, 1.0, 0.0, -1.0)]
    assert places == [0, 1, 1, 2, 3, 4]


def test_where_nothing_is_tied_nothing_is_ordered() -> None:
    rows, scores = np.array([1, 0], np.int32), np.array([2.0, 1.0])
    assert order_of_ties(["a", "b"], rows, scores, np.ones(2, bool)) is None
