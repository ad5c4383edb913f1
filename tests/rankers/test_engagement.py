from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.events import counters_of, posts_of
from feedmill.events.engagement import ENGAGEMENT_KINDS, EngagementKind
from feedmill.features.counters import Counters
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import load

# Written for this test; none comes from a data set.
BAIT = ["You Won't Believe What This Mom Did Next!", "21 Things Only Cat People Will Understand"]

PLAIN = [
    "The council approved the new budget on Tuesday after a debate of two hours.",
    "Scientists at the institute measured the temperature of the lake for ten years.",
]

EDGE = ["", " ", "a", "😀" * 40, "x" * 20_000, "日本語のテキスト"]


@pytest.fixture(scope="module")
def engagement() -> ExpectedClicks:
    model = load("engagement")
    assert isinstance(model, ExpectedClicks)
    return model


def test_priors_are_rates_of_each_row_alone(engagement: ExpectedClicks) -> None:
    many = posts_of([*BAIT, *PLAIN, *EDGE])
    priors = engagement.prior_many(many)
    assert ((priors > 0) & (priors < 0.1)).all()
    alone = np.concatenate([engagement.prior_many([p]) for p in many])
    np.testing.assert_array_equal(priors, alone)
    assert engagement.prior_many([]).shape == (0,)


def test_a_post_that_nobody_has_seen_gets_its_prior(engagement: ExpectedClicks) -> None:
    priors = engagement.prior_many(posts_of(PLAIN))
    np.testing.assert_array_equal(engagement.score_many(priors, [Counters(), Counters()]), priors)
    only_reports = counters_of(("report", 3))
    assert engagement.score_many(priors[:1], [only_reports])[0] == priors[0]


def test_small_counts_shrink_to_the_prior(engagement: ExpectedClicks) -> None:
    prior = np.array([engagement.base] * 3)
    rows = [
        counters_of(("impression", 10), ("click", 1)),
        counters_of(("impression", 100), ("click", 10)),
        counters_of(("impression", 1_000), ("click", 100)),
    ]
    low, middle, high = engagement.score_many(prior, rows)
    assert engagement.base < low < middle < high < 0.12


def test_ignored_impressions_lower_the_value(engagement: ExpectedClicks) -> None:
    prior = np.array([0.016, 0.016])
    rows = [counters_of(("impression", 50)), counters_of(("impression", 2_000))]
    few, many = engagement.score_many(prior, rows)
    assert many < few < 0.016


def test_reactions_without_impressions_count(engagement: ExpectedClicks) -> None:
    prior = np.full(3, engagement.base)
    rows = [Counters(), counters_of(("like", 2)), counters_of(("like", 20), ("share", 5))]
    assert (np.diff(engagement.score_many(prior, rows)) > 0).all()


KIND_COUNTS = st.lists(
    st.tuples(st.sampled_from(ENGAGEMENT_KINDS), st.integers(0, 40)), min_size=0, max_size=6
)


@settings(max_examples=150)
@given(KIND_COUNTS, st.sampled_from(["click", "like", "reply", "share"]), st.floats(1e-4, 0.5))
def test_one_more_positive_never_lowers(
    events: list[tuple[EngagementKind, int]], kind: EngagementKind, prior: float
) -> None:
    model = load("engagement")
    assert isinstance(model, ExpectedClicks)
    before, after = counters_of(*events), counters_of(*events, (kind, 1))
    low, high = model.score_many(np.array([prior, prior]), [before, after])
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-12


@settings(max_examples=50)
@given(
    st.floats(0, 1e6), st.lists(st.floats(0, 1e6), min_size=2, max_size=20), st.floats(0.001, 0.2)
)
def test_the_value_rises_with_positives_at_the_same_impressions(
    impressions: float, positives: list[float], prior: float
) -> None:
    model = load("engagement")
    assert isinstance(model, ExpectedClicks)
    rising = np.sort(np.array([0.0, *positives]))
    values = model.value(np.full(len(rising), prior), rising, np.maximum(impressions, rising))
    assert (np.diff(values) >= -1e-12).all()


def test_the_value_does_not_depend_on_when_it_is_asked_or_how_rows_are_batched(
    engagement: ExpectedClicks,
) -> None:
    rows = [counters_of(("impression", 9), ("like", i), at_ms=i * 10**9) for i in range(40)]
    priors = np.linspace(0.005, 0.05, 40)
    whole = engagement.score_many(priors, rows)
    alone = [engagement.score_many(priors[i : i + 1], rows[i : i + 1])[0] for i in range(40)]
    np.testing.assert_array_equal(whole, alone)
    shifted = [counters_of(("impression", 9), ("like", i), at_ms=10**12) for i in range(40)]
    np.testing.assert_allclose(engagement.score_many(priors, shifted), whole, rtol=1e-12)
