"""A challenger of engagement is released where clicks changed, and not where they did not."""

from dataclasses import replace

import numpy as np
import pytest

from builders.impression_simulation import DAY_MS, START_MS, Size, simulated_impressions
from builders.training_data import WORDS
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.features.authorship import author_keys
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.training.continual import impression_contest
from feedmill.training.continual.challenger import (
    ALPHA,
    ChallengeResult,
    challenge,
    e_value,
)
from feedmill.training.continual.impression_contest import (
    FREE_IMPRESSIONS,
    MARGIN,
    NO_BET,
    ImpressionContest,
    bet_numbers,
    brier,
    click_probabilities,
    model_of,
    reference_differences,
    users_of,
    without_floods,
)
from feedmill.training.fitting.engagement import FittedEngagement, fit_impressions
from feedmill.training.recipes import ENGAGEMENT, EngagementRecipe

LARGE = Size(posts=2_000, authors=1_500, users=6_000)
SMALL = Size(posts=600, authors=500, users=2_000, impressions=15)


# From before the champion's.
REFERENCE = simulated_impressions("none", 1, Size(posts=500), days=3, start_day=-40)


@pytest.fixture(scope="module")
def champion() -> ExpectedClicks:
    """A model of two weeks before anything changed."""
    rows = simulated_impressions("none", 0, Size(posts=1_000), days=14, start_day=-20)
    return model_of(fit_impressions(ENGAGEMENT, rows))


def challenged(
    champion: ExpectedClicks, rows: Impressions, fresh_from_ms: int = 0
) -> ChallengeResult[FittedEngagement]:
    return challenge(
        ImpressionContest(champion, ENGAGEMENT, REFERENCE, DAY_MS, rows, fresh_from_ms)
    )


def test_where_the_clicks_of_a_topic_doubled_it_is_released_and_better(
    champion: ExpectedClicks,
) -> None:
    found = challenged(champion, simulated_impressions("shift", 3, LARGE))
    assert found.reason == ""
    assert min(found.better, found.e_values["not_worse"]) >= 1 / ALPHA
    assert found.fitted is not None
    later = simulated_impressions("shift", 1_003, LARGE)
    assert (brier(model_of(found.fitted), later) - brier(champion, later)).mean() < 0
    assert "worse" not in found.e_values


def test_where_nothing_changed_it_is_not(champion: ExpectedClicks) -> None:
    found = challenged(champion, simulated_impressions("none", 3, SMALL))
    assert found.reason == "it is not shown to be better"
    assert found.bets > 100
    assert found.fitted is None


def test_an_impression_is_scored_by_a_model_that_knew_nothing_of_the_day_before_it(
    champion: ExpectedClicks, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_until: list[int] = []
    tried_from: list[int] = []

    def fit(recipe: EngagementRecipe, rows: Impressions) -> FittedEngagement:
        known_until.append(int(rows.at_ms.max()))
        return fit_impressions(recipe, rows)

    def gains(old: ExpectedClicks, new: ExpectedClicks, rows: Impressions) -> object:
        tried_from.append(int(rows.at_ms.min()))
        return real(old, new, rows)

    real = impression_contest._gains
    monkeypatch.setattr(impression_contest, "fit_impressions", fit)
    monkeypatch.setattr(impression_contest, "_gains", gains)
    rows = simulated_impressions("none", 4, SMALL)
    found = challenged(champion, rows)
    assert found.bets > 100
    assert len(known_until) == len(tried_from) > 1
    for known, tried in zip(known_until, tried_from, strict=True):
        assert known + DAY_MS <= tried


def test_what_an_earlier_challenger_bet_on_trains_and_bets_no_more(
    champion: ExpectedClicks,
) -> None:
    rows = simulated_impressions("none", 4, SMALL)
    every, half = (challenged(champion, rows, start).bets for start in (0, START_MS + 5 * DAY_MS))
    assert 0 < half < every / 2


def test_too_few_impressions_are_said(champion: ExpectedClicks) -> None:
    rows = simulated_impressions("none", 4, Size(posts=50, authors=9, users=50, impressions=10))
    found = challenged(champion, rows)
    assert found.reason.startswith("too few impressions")
    assert found.bets == 0


def test_the_reference_refuses_a_model_that_expects_far_too_many_clicks(
    champion: ExpectedClicks,
) -> None:
    same = reference_differences(champion, champion, REFERENCE)
    assert e_value(same) >= 1 / ALPHA
    much = replace(champion, base=5 * champion.base)
    worse = (brier(much, REFERENCE) - brier(champion, REFERENCE)).mean()
    assert worse > 2 * MARGIN
    assert e_value(reference_differences(champion, much, REFERENCE)) < 1


def test_an_impression_that_few_look_at_is_clicked_less_often(champion: ExpectedClicks) -> None:
    half = replace(REFERENCE, weights=REFERENCE.weights / 2)
    whole = click_probabilities(champion, REFERENCE)
    assert np.array_equal(click_probabilities(champion, half), whole / 2)


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
