"""The examination curve: recovered from planted ones, whatever put the posts where they were."""

import numpy as np
import pytest

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.training.arrays import Values
from feedmill.training.position_bias import counts_by_position, fit_examination

POSITIONS = 8
PLANTED = (1.0 + np.arange(POSITIONS)) ** -0.8


def rates_of(impressions: Values, clicks: Values, examination: Values) -> Values:
    return np.asarray(clicks.sum(axis=1) / (impressions @ examination), dtype=np.float64)


def shown(rates: Values, random: np.random.Generator, luck: float) -> tuple[Values, Values]:
    """Impressions and clicks of a ranking by rates, disturbed by `luck`, in 20 rounds."""
    impressions = np.zeros((len(rates), POSITIONS))
    clicks = np.zeros_like(impressions)
    for _ in range(20):
        order = np.argsort(-np.log(rates) + luck * random.gumbel(size=len(rates)))
        for place, posts in enumerate(np.array_split(order, POSITIONS)):
            impressions[posts, place] += 200
            clicks[posts, place] += random.binomial(200, rates[posts] * PLANTED[place])
    return impressions, clicks


@pytest.mark.parametrize("luck", [0.3, 1.0, 100.0])
def test_a_planted_curve_is_recovered_whatever_the_ranking(luck: float) -> None:
    random = np.random.default_rng(3)
    rates = random.beta(2, 20, 400)
    impressions, clicks = shown(rates, random, luck)
    fitted = fit_examination(impressions, clicks)
    assert fitted == pytest.approx(PLANTED, rel=0.1)
    plain = clicks.sum(axis=0) / impressions.sum(axis=0)
    if luck < 1:
        # The clicks of each position alone mistake good posts at the top for the position.
        assert np.abs(plain / plain[0] / PLANTED - 1).max() > 0.2
    corrected = rates_of(impressions, clicks, fitted)
    uncorrected = rates_of(impressions, clicks, np.ones(POSITIONS))
    errors = [np.abs(np.log(found / rates)).mean() for found in (corrected, uncorrected + 1e-9)]
    assert errors[0] < errors[1] / 2


def test_it_is_the_maximum_of_the_likelihood() -> None:
    random = np.random.default_rng(5)
    impressions, clicks = shown(random.beta(2, 20, 60), random, 1.0)

    def log_likelihood(examination: Values) -> float:
        expected = np.outer(rates_of(impressions, clicks, examination), examination) * impressions
        some = expected > 0
        return float((clicks[some] * np.log(expected[some]) - expected[some]).sum())

    fitted = fit_examination(impressions, clicks)
    for position in range(1, POSITIONS):
        for factor in (0.98, 1.02):
            other = fitted.copy()
            other[position] *= factor
            assert log_likelihood(other) < log_likelihood(fitted)


def test_where_no_post_was_shown_at_two_positions_the_curve_stays_flat() -> None:
    impressions, clicks = np.diag([100.0, 100.0, 100.0]), np.diag([9.0, 3.0, 1.0])
    assert fit_examination(impressions, clicks).tolist() == [1.0, 1.0, 1.0]


def test_a_position_without_impressions_counts_as_the_one_before_it() -> None:
    impressions = np.array([[100.0, 100.0, 0.0]] * 2)
    assert fit_examination(impressions, impressions * [0.1, 0.05, 0]).tolist() == pytest.approx(
        [1.0, 0.5, 0.5]
    )


def test_no_events_give_a_flat_curve() -> None:
    posts, impressions, clicks = counts_by_position([], 3)
    assert posts == []
    assert fit_examination(impressions, clicks).tolist() == [1.0, 1.0, 1.0]


def event(post_id: str, user: str, kind: EngagementKind, position: int | None) -> Engagement:
    return Engagement(post_id, user, kind, 0, position=position)


def test_users_count_once_and_a_click_where_they_saw_the_post() -> None:
    posts, impressions, clicks = counts_by_position(
        [
            event("p", "ann", "impression", 2),
            event("p", "ann", "impression", 0),
            event("p", "ann", "click", 0),
            event("p", "ann", "click", 0),
            event("p", "bob", "click", 1),
            event("q", "bob", "impression", 3),
            event("q", "bob", "impression", None),
            event("q", "bob", "like", 0),
        ],
        3,
    )
    assert posts == ["p"]
    assert impressions.tolist() == [[0, 0, 1]]
    assert clicks.tolist() == [[0, 1, 1]]
