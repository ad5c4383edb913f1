"""A challenger of engagement is released where clicks changed, and not where they did not."""

from dataclasses import replace

import numpy as np
import pytest

from builders.impression_simulation import (
    DAY_MS,
    START_MS,
    Size,
    simulated_impressions,
)
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.training.continual import impression_contest
from feedmill.training.continual.anytime_test import e_value
from feedmill.training.continual.challenger import ALPHA, MARGIN, Verdict, challenge
from feedmill.training.continual.impression_contest import (
    ImpressionContest,
    brier,
    click_probabilities,
    model_of,
    reference_differences,
)
from feedmill.training.fitting.engagement import FittedEngagement
from feedmill.training.fitting.impressions import fit_impressions
from feedmill.training.ranker_recipes import ENGAGEMENT, EngagementRecipe

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
) -> Verdict[FittedEngagement]:
    return challenge(
        ImpressionContest(champion, ENGAGEMENT, REFERENCE, DAY_MS, rows, fresh_from_ms)
    )


def test_where_the_clicks_of_a_topic_doubled_it_is_released_and_better(
    champion: ExpectedClicks,
) -> None:
    found = challenged(champion, simulated_impressions("shift", 3, LARGE))
    assert found.reason == ""
    assert min(found.better, found.not_worse) >= 1 / ALPHA
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
