"""`RankedList` against sorting everything, over drawn sequences of changes full of ties."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.rankers.combiner.ranked_list import PostMove, RankedList, RowLookup

Rows = npt.NDArray[np.int32]
Best = list[tuple[int, float]]


def sorted_best(
    scores: npt.NDArray[np.float64],
    ids: list[str],
    authors: npt.NDArray[np.int32],
    size: int,
    most: int | None,
) -> Best:
    """The best posts by sorting all: equal scores by the bytes of the ids, `most` of one author."""
    taken, best = Counter[int](), []
    keys = zip(scores.tolist(), map(str.encode, ids), range(len(ids)), strict=True)
    for score, _, row in sorted(keys, reverse=True):
        taken[int(authors[row])] += 1
        if score > -np.inf and taken[int(authors[row])] <= (most or len(ids)):
            best.append((row, score))
    return best[:size]


def as_pairs(rows: Rows, scores: npt.NDArray[np.float64]) -> Best:
    return list(zip(rows.tolist(), scores.tolist(), strict=True))


class Posts:
    """All posts of a feed, and the list that is told of their changes."""

    def __init__(
        self, count: int, size: int, most: int | None, authors: int, distinct: int, seed: int
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.scores = np.full(count, -np.inf)
        self.authors = self.rng.integers(0, authors, count).astype(np.int32)
        self.ids = [f"{'aé￮𝄞'[i % 4]}{i}" for i in range(count)]
        self.size, self.most, self.distinct = size, most, distinct
        self.author_count = authors
        self.made_anew = 0
        self.list = self._new()

    def change(self, rows: Rows, scores: npt.NDArray[np.float64]) -> None:
        self.scores[rows] = scores
        self.list.update(rows, scores, self.authors[rows])

    def draw(self, count: int) -> Rows:
        return self.rng.choice(len(self.scores), count, replace=False).astype(np.int32)

    def drawn_scores(self, count: int) -> npt.NDArray[np.float64]:
        return self.rng.integers(0, self.distinct, count) / 7.0

    def enter(self) -> None:
        rows = self.draw(int(self.rng.integers(1, len(self.scores))))
        self.change(rows, self.drawn_scores(len(rows)))

    def leave(self) -> None:
        rows = self.draw(int(self.rng.integers(1, len(self.scores) // 4)))
        self.change(rows, np.full(len(rows), -np.inf))

    def leave_the_top(self) -> None:
        rows, _ = self.list.best()
        rows = rows[: int(self.rng.integers(0, 20))].copy()
        self.change(rows, np.full(len(rows), -np.inf))

    def fall_and_rise(self) -> None:
        rows = self.draw(int(self.rng.integers(1, 9)))
        below_all = self.rng.random(len(rows)) < 0.5
        self.change(rows, np.where(below_all, -5.0, self.drawn_scores(len(rows))))

    def change_author(self) -> None:
        rows = self.draw(3)
        self.authors[rows] = self.rng.integers(0, self.author_count, 3)
        self.change(rows, self.scores[rows])

    def reuse_a_row(self) -> None:
        rows = self.draw(1)
        self.change(rows, np.array([-np.inf]))
        self.ids[int(rows[0])] = f"n{self.rng.integers(0, 10**9)}"
        self.change(rows, self.drawn_scores(1))

    def within_cap(self) -> Best:
        """The posts of the list that the author cap lets in."""
        taken, within = Counter[int](), []
        pairs = as_pairs(self.list.rows, self.list.scores)
        for pair, author in zip(pairs, self.list.authors.tolist(), strict=True):
            taken[author] += 1
            if taken[author] <= (self.most or len(self.ids)):
                within.append(pair)
        return within

    def check(self) -> None:
        if self.list.is_short:
            self.made_anew += 1
            self.list = self._new()
            for rows in np.array_split(self.rng.permutation(len(self.scores)), 4):
                self.list.update(rows.astype(np.int32), self.scores[rows], self.authors[rows])
            assert not self.list.is_short
        expected = sorted_best(self.scores, self.ids, self.authors, self.size, self.most)
        assert as_pairs(*self.list.best()) == expected

    def _new(self) -> RankedList:
        return RankedList(self.size, self.most, self.ids)


OPERATIONS = (
    Posts.enter,
    Posts.leave,
    Posts.leave_the_top,
    Posts.fall_and_rise,
    Posts.change_author,
    Posts.reuse_a_row,
)


@settings(max_examples=150, deadline=None)
@given(
    count=st.sampled_from((20, 400, 1500)),
    size=st.sampled_from((1, 5, 50)),
    most=st.sampled_from((None, 1, 3)),
    authors=st.sampled_from((1, 6, 800)),
    distinct=st.sampled_from((1, 4, 10**6)),
    seed=st.integers(0, 9999),
    operations=st.lists(st.sampled_from(OPERATIONS), max_size=25),
)
def test_any_changes_give_what_sorting_all_posts_gives(
    *,
    count: int,
    size: int,
    most: int | None,
    authors: int,
    distinct: int,
    seed: int,
    operations: list[object],
) -> None:
    posts = Posts(count, size, most, authors, distinct, seed)
    posts.enter()
    for operation in operations:
        operation(posts)  # type: ignore[operator] # hypothesis draws plain objects
        posts.check()


@settings(max_examples=100, deadline=None)
@given(
    size=st.sampled_from((1, 5, 50)),
    most=st.sampled_from((None, 1, 3)),
    distinct=st.sampled_from((1, 4, 10**6)),
    seed=st.integers(0, 9999),
    operations=st.lists(st.sampled_from(OPERATIONS), max_size=8),
)
def test_a_move_of_one_post_is_said_only_where_nothing_else_changed(
    *, size: int, most: int | None, distinct: int, seed: int, operations: list[object]
) -> None:
    posts = Posts(60, size, most, 6, distinct, seed)
    for operation in (Posts.enter, *operations):
        operation(posts)  # type: ignore[operator] # hypothesis draws plain objects
        posts.list.best()
        posts.list.take_move()
        for _ in range(6):
            before = posts.within_cap()
            rows = posts.draw(1)
            hides = posts.rng.random() < 0.2
            posts.change(rows, np.array([-np.inf]) if hides else posts.drawn_scores(1))
            move = posts.list.take_move()
            after = posts.within_cap()
            if move is not None:
                if move.from_at >= 0:
                    before.pop(move.from_at)
                if move.to_at >= 0:
                    before.insert(move.to_at, after[move.to_at])
                assert after == before
            assert as_pairs(*posts.list.best()) == after[:size]


def test_a_post_that_moves_alone_is_said_to_have() -> None:
    posts = filled(40, 50, 3, 800, 10**9)
    posts.list.best()
    assert posts.list.take_move() is None  # many entered
    posts.list.update(np.array([3], np.int32), np.array([-np.inf]), posts.authors[:1])
    assert posts.list.take_move() == PostMove(31, -1)  # one left
    posts.list.update(np.array([3], np.int32), np.array([1e9]), posts.authors[3:4])
    assert posts.list.take_move() == PostMove(-1, 0)
    assert posts.list.take_move() is None
    posts.list.update(np.array([3], np.int32), np.array([-1e9]), posts.authors[3:4])
    assert posts.list.take_move() == PostMove(0, 39)
    posts.list.update(np.array([3], np.int32), np.array([2e9]), posts.authors[3:4])
    posts.list.update(np.array([4], np.int32), np.array([3e9]), posts.authors[4:5])
    assert posts.list.take_move() is None  # two moved


def filled(count: int, size: int, most: int | None, authors: int, distinct: int) -> Posts:
    posts = Posts(count, size, most, authors, distinct, 7)
    rows = np.arange(count, dtype=np.int32)
    posts.change(rows, posts.drawn_scores(count))
    return posts


def test_the_list_keeps_a_reserve_and_not_every_post() -> None:
    posts = filled(20_000, 100, 3, 9000, 10**9)
    assert 100 < len(posts.list) < 400
    for _ in range(3):
        posts.leave_the_top()
        posts.check()
    assert posts.made_anew == 0


def test_one_prolific_author_does_not_fill_the_list() -> None:
    posts = filled(20_000, 100, 2, 9000, 10**9)
    rows = posts.draw(15_000)
    posts.authors[rows] = 1
    posts.change(rows, posts.scores[rows] + 10**9)
    assert len(posts.list) < 500
    posts.check()


def test_an_equal_score_changes_nothing() -> None:
    posts = filled(3000, 50, 3, 2000, 10**9)
    rows = posts.draw(500)
    assert not posts.list.update(rows, posts.scores[rows], posts.authors[rows])


def test_of_an_author_with_most_of_very_many_posts_few_ids_are_read() -> None:
    ids = CountedIds()
    ranked = RankedList(10, 3, ids)
    rng = np.random.default_rng(3)
    scores, authors = rng.random(20_000), np.zeros(20_000, np.int32)
    authors[::50] = np.arange(1, 401)
    for start in range(0, 20_000, 1000):
        rows = np.arange(start, start + 1000, dtype=np.int32)
        ranked.update(rows, scores[rows], authors[rows])
    names = [f"p{row:06}" for row in range(20_000)]
    assert as_pairs(*ranked.best()) == sorted_best(scores, names, authors, 10, 3)
    assert ids.read < 200


class CountedIds:
    """Ids by row, and how many were read."""

    def __init__(self) -> None:
        self.read = 0

    def __getitem__(self, row: int) -> str:
        self.read += 1
        return f"p{row:06}"


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


@pytest.mark.parametrize("count", [500, 10_000])
def test_posts_among_ties_are_placed_by_few_ids_and_one_of_them_is_one_move(count: int) -> None:
    ids = CountedIds()
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
