"""`top` against sorting everything, over drawn scores full of ties."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.rankers.combiner.top import top

Scores = npt.NDArray[np.float64]


def sorted_top(
    scores: Scores,
    rows: npt.NDArray[np.int32],
    ids: list[str],
    authors: npt.NDArray[np.int32],
    size: int,
    most: int | None,
) -> list[tuple[int, float]]:
    """What `top` promises, the long way."""
    pairs = [(float(s), ids[r].encode(), int(r)) for s, r in zip(scores, rows, strict=True)]
    taken: dict[int, int] = {}
    best = []
    for score, _, row in sorted(pairs, reverse=True):
        if score == -np.inf:
            continue
        author = int(authors[row])
        taken[author] = taken.get(author, 0) + 1
        if most is None or taken[author] <= most:
            best.append((row, score))
    return best[:size]


def check(
    scores: Scores, seed: int, size: int, most: int | None, authors_count: int
) -> list[tuple[int, float]]:
    """Rank these scores, in rows of a wider table that only some belong to."""
    rng = np.random.default_rng(seed)
    n = len(scores)
    rows = rng.permutation(n + n // 2 + 3)[:n].astype(np.int32)
    ids = [f"{'aé￮𝄞'[i % 4]}{i}" for i in range(n + n // 2 + 3)]
    authors = rng.integers(0, authors_count, len(ids)).astype(np.int32)
    before = scores.copy()
    best, best_scores = top(scores, rows, ids, authors, size, most)
    assert len(best) == len(best_scores) <= size
    found = list(zip(best.tolist(), best_scores.tolist(), strict=True))
    assert found == sorted_top(scores, rows, ids, authors, size, most)
    assert (scores == before).all()
    return found


GRID = (-np.inf, -3.0, -1.0, 0.0, 0.5, 0.5 + 2**-50, 7.0)
caps = st.sampled_from((None, 1, 2, 3, 50))


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from(GRID), max_size=60),
    st.integers(0, 99),
    st.integers(1, 70),
    caps,
    st.integers(1, 9),
)
def test_few_scores_come_as_sorted(
    scores: list[float], seed: int, size: int, most: int | None, authors: int
) -> None:
    check(np.array(scores), seed, size, most, authors)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 9999),
    n=st.integers(20_000, 30_000),
    size=st.sampled_from((1, 10, 500)),
    most=caps,
    authors=st.sampled_from((1, 5, 3000)),
    distinct=st.sampled_from((2, 50, 10**9)),
    hidden=st.sampled_from((0.0, 0.5, 0.99, 0.9999)),
)
def test_many_scores_come_as_sorted(
    *, seed: int, n: int, size: int, most: int | None, authors: int, distinct: int, hidden: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, distinct, n) / 7.0
    scores[rng.random(n) < hidden] = -np.inf
    check(scores, seed, size, most, authors)


@pytest.mark.parametrize("n", [0, 1, 5, 19_999, 20_000, 20_001, 40_000])
@pytest.mark.parametrize("most", [None, 2])
def test_equal_scores_come_by_descending_id(n: int, most: int | None) -> None:
    found = check(np.full(n, 3.25), 1, 10, most, 4)
    assert len(found) == min(n, 10 if most is None else 2 * 4)


@pytest.mark.parametrize("n", [3, 30_000])
def test_posts_that_are_not_shown_are_never_taken(n: int) -> None:
    assert check(np.full(n, -np.inf), 1, 10, None, 4) == []
    scores = np.full(n, -np.inf)
    scores[n // 2] = -1e300
    assert [score for _, score in check(scores, 1, 10, 1, 4)] == [-1e300]


def test_one_prolific_author_leaves_room_for_all_others() -> None:
    n = 25_000
    scores = np.arange(n, dtype=float)
    ids = [f"p{i}" for i in range(n)]
    authors = np.zeros(n, np.int32)
    authors[:40] = np.arange(1, 41)  # the 40 lowest scores are of others
    best, _ = top(scores, np.arange(n, dtype=np.int32), ids, authors, 30, 3)
    assert best.tolist() == [n - 1, n - 2, n - 3, *range(39, 12, -1)]
