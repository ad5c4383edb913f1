"""Bets on labels: who bets, what a gate does, and that streams without a gain seldom cross."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.post import Post
from feedmill.training.continual.challenger import ALPHA, e_value
from feedmill.training.continual.label_bets import (
    Bets,
    labels_of_posts,
    may_bet,
    owned,
    without_floods,
)
from feedmill.training.label_join import LabelRecord

STREAMS, BETS, RATERS = 2_000, 600, 10
LONG = "a long evening by the river with bread and wine and music for everybody in the village"


def record(n: int, author: str = "", text: str = "", rater: str = "ann") -> LabelRecord:
    post = Post(f"p{n}", author or f"a{n}", n, text or f"{n} {n * 7} {n * 13} words of post {n}")
    return LabelRecord(post, float(n % 2), rater, n)


def test_the_first_label_of_an_author_and_of_near_copies_bets() -> None:
    records = [record(0), record(1, author="a0"), record(2, text=LONG), record(3, text=f"{LONG}!")]
    records += [record(4), record(4, rater="bob")]
    assert may_bet(records) == [True, False, True, False, True, False]


def test_a_rater_has_an_eighth_of_what_others_said_before() -> None:
    flood = [record(n, rater="flood") for n in range(10_000)]
    assert len(without_floods(flood)) == 20
    others = [record(n, rater=f"r{n % 40}") for n in range(800)]
    kept = without_floods([*others, *flood])
    assert sum(one.rater == "flood" for one in kept) == 100
    # What was counted is not taken back by what comes later.
    assert without_floods([*others, *flood])[:800] == without_floods(others)


def test_a_post_has_the_mean_of_the_last_labels_of_its_raters() -> None:
    said = [("ann", 1.0), ("bob", 0.0), ("cy", 1.0), ("ann", 0.0)]
    [(post, label)] = labels_of_posts([record(0, rater=r)._replace(label=y) for r, y in said])
    assert post.post_id == "p0"
    assert label == pytest.approx(1 / 3)


def test_a_part_of_the_money_waits_for_each_fit() -> None:
    gains = np.array([-1.0, -1.0, 0.5, 0.5])
    fits = np.array([1, 1, 2, 2])
    waited = (e_value(gains) + e_value(gains[2:]) + 14) / 16
    assert owned(gains, fits) == pytest.approx(waited)
    assert owned(np.zeros(0), np.zeros(0)) == 1.0


def test_the_least_counts_without_any_one_rater() -> None:
    gains, fits = np.full(40, 0.8), np.ones(40)
    names = ("liar",) * 20 + tuple(f"r{n % 4}" for n in range(20))
    every = Bets(gains, fits, names).e_value()
    assert every == pytest.approx(owned(gains[20:], fits[20:]))
    assert Bets(gains, fits, ("one",) * 40).e_value() == 1.0
    assert Bets(np.zeros(0), np.zeros(0), ()).e_value() == 1.0


RECORDS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 3)), max_size=80
).map(lambda rows: [record(n, f"a{a}", rater=f"r{r}") for n, a, r in rows])


@given(RECORDS, RECORDS)
def test_no_later_record_changes_what_was_chosen(
    earlier: list[LabelRecord], later: list[LabelRecord]
) -> None:
    both = [*earlier, *later]
    assert without_floods(both)[: len(without_floods(earlier))] == without_floods(earlier)
    assert may_bet(both)[: len(earlier)] == may_bet(earlier)


@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans(), st.integers(0, 4)), max_size=60))
def test_what_is_owned_is_the_same_after_each_bet_in_any_order_of_a_fit(
    rows: list[tuple[float, bool, int]],
) -> None:
    """And the least without a rater is no more than without this one."""
    gains, steps = (np.array([row[n] for row in rows], dtype=np.float64) for n in (0, 1))
    fits = 1 + np.cumsum(steps)
    names = tuple(f"r{row[2]}" for row in rows)
    assert owned(gains, fits) > 0
    order = np.lexsort((gains, fits))
    assert owned(gains[order], fits[order]) == pytest.approx(owned(gains, fits))
    for name in {*names}:
        others = np.array([one != name for one in names])
        assert Bets(gains, fits, names).e_value() <= owned(gains[others], fits[others])


def drawn(kind: str, random: np.random.Generator) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bets whose mean is 0, but of the liar's; of copies the first bets."""
    names = tuple(f"r{n}" for n in random.integers(RATERS, size=BETS).tolist())
    signs = random.choice((-1.0, 1.0), BETS)
    if kind == "rare":
        gains = np.where(random.random(BETS) < 0.05, 0.95, -0.05)
    elif kind == "copies":
        # Twenty posts of a kind go one way together: one of them bets, the others nothing.
        gains = np.where(np.arange(BETS) % 20 == 0, signs, 0.0)
    elif kind == "liar":
        gains = np.where([name == "r0" for name in names], 0.9, 0.5 * signs)
    else:
        gains = signs
    return gains, names


@pytest.mark.parametrize("kind", ["even", "rare", "copies", "liar"])
def test_streams_without_a_gain_seldom_cross(kind: str) -> None:
    """The test alone: looked at after every fit, and at the end."""
    random, crossed = np.random.default_rng(3), 0
    ends = [60, 90, 135, 203, 305, 458, BETS]
    fits = np.searchsorted(ends, np.arange(BETS), side="right").astype(np.float64) + 1
    for _ in range(STREAMS):
        gains, names = drawn(kind, random)
        crossed += any(Bets(gains[:n], fits[:n], names[:n]).e_value() >= 1 / ALPHA for n in ends)
    assert crossed <= 0.01 * STREAMS
