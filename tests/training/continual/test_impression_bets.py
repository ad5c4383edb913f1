"""No user, author or near copy bets twice, and nobody floods what a challenger learns."""

from dataclasses import replace

import numpy as np
import pytest

from builders.training_data import WORDS
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.features.authorship import author_keys
from feedmill.rankers.impressions import Impressions
from feedmill.training.continual.impression_bets import (
    FREE_IMPRESSIONS,
    NO_BET,
    bet_numbers,
    users_of,
    without_floods,
)

START_MS = 1_700_000_000_000


def impressions(
    seen: list[tuple[int, int]], authors: list[str], texts: list[str] | None = None
) -> Impressions:
    """Impressions a second apart, each a post and a user; `authors` and `texts` of the posts."""
    random = np.random.default_rng(1)
    posts = [
        Post(f"p{n}", author, START_MS, texts[n] if texts else " ".join(random.choice(WORDS, 12)))
        for n, author in enumerate(authors)
    ]
    count = len(seen)
    return Impressions(
        posts,
        np.array([version for version, _ in seen], dtype=np.int64),
        START_MS + 1_000 * np.arange(count),
        np.ones(count),
        np.zeros(count),
        np.zeros(count),
        np.zeros((count, 4), dtype=np.bool_),
        author_keys(posts),
        users=np.array([user for _, user in seen], dtype=np.int64),
    )


def all_fresh(rows: Impressions) -> np.ndarray:
    return np.ones(len(rows), dtype=np.bool_)


def test_of_each_user_one_impression_bets_with_others_of_the_same_author() -> None:
    random = np.random.default_rng(3)
    seen = [(int(random.integers(60)), int(random.integers(200))) for _ in range(3_000)]
    rows = impressions(seen, [f"a{n % 20}" for n in range(60)])
    numbers = bet_numbers(rows, all_fresh(rows))
    bets = np.flatnonzero(numbers != NO_BET)
    users = np.unique([user for _, user in seen])
    assert sorted(users_of(rows)[bets].tolist()) == users.tolist()
    authors = {numbers[row]: rows.posts[rows.versions[row]].author_id for row in bets}
    assert len(set(authors.values())) == len(authors) == 20
    for row in bets:
        assert authors[numbers[row]] == rows.posts[rows.versions[row]].author_id
    # In the order of time.
    first = [int(np.flatnonzero(numbers == number)[0]) for number in range(20)]
    assert first == sorted(first)


def test_who_bets_does_not_depend_on_who_clicks() -> None:
    seen = [(n % 7, n % 31) for n in range(500)]
    rows = impressions(seen, [f"a{n}" for n in range(7)])
    clicked = replace(rows, reactions=~rows.reactions, clicks=rows.clicks + 3)
    assert (bet_numbers(rows, all_fresh(rows)) == bet_numbers(clicked, all_fresh(rows))).all()
    assert (without_floods(rows).at_ms == without_floods(clicked).at_ms).all()


def test_a_near_copy_bets_for_its_first_author_alone_and_never_if_it_was_shown_before() -> None:
    text = " ".join(WORDS[:14])
    copies = [text, text + "!", "something else altogether was said here", text]
    rows = impressions([(0, 1), (1, 2), (2, 3), (3, 4)], ["ann", "bob", "cid", "ann"], copies)
    assert bet_numbers(rows, all_fresh(rows)).tolist() == [0, NO_BET, 1, 0]
    fresh = np.array([False, True, True, True])
    assert bet_numbers(rows, fresh).tolist() == [NO_BET, NO_BET, 0, NO_BET]


def test_nothing_bets_where_nothing_is_new() -> None:
    rows = impressions([(0, 1), (1, 2)], ["ann", "bob"])
    assert bet_numbers(rows, ~all_fresh(rows)).tolist() == [NO_BET, NO_BET]


def test_a_user_has_a_hundredth_of_the_impressions_at_most_or_twenty() -> None:
    flood = [(n, 0) for n in range(4_000)]
    others = [(n, 1 + n % 600) for n in range(6_000)]
    rows = without_floods(impressions(flood + others, ["a"] * 6_000))
    floods = users_of(rows) == 0
    assert (floods.sum(), (~floods).sum()) == (100, 6_000)
    # Which of them stay is drawn from all of them.
    assert rows.versions[floods].max() > 3_000
    few = without_floods(impressions(flood[:50], ["a"] * 50))
    assert len(few) == FREE_IMPRESSIONS


def test_impressions_without_users_cannot_bet() -> None:
    rows = replace(impressions([(0, 1)], ["ann"]), users=None)
    with pytest.raises(UsageError, match="do not say who saw them"):
        bet_numbers(rows, all_fresh(rows))
