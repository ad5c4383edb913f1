"""`score_of` against the contract's formula, and against the combiner's columns."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.weights import Weights
from feedmill.rankers.score import EPOCH_MS, LEAST_SUM, recency_of, score_of

HOUR_MS = 3_600_000
WEIGHTS = Weights(
    objectives={"quality": 0.5, "engagement": 0.25, "novelty": 0.0},
    scale={"quality": 1.0, "engagement": 10.0, "novelty": 1.0},
    half_life_hours=24.0,
)


def test_the_score_is_the_logarithm_of_the_demoted_sum_and_the_half_lives_since_2020() -> None:
    objectives = {"quality": 0.5, "engagement": 0.3, "novelty": 9.0}
    created_ms = EPOCH_MS + 48 * HOUR_MS
    # 0.5 * 1 * 0.5 + 0.25 * 10 * 0.3 = 1; demoted by a quarter: -2; two half-lives: +2
    assert score_of(WEIGHTS, objectives, 0.25, created_ms) == pytest.approx(0.0, abs=1e-12)
    assert score_of(WEIGHTS, objectives, 1.0, created_ms) == pytest.approx(2.0, abs=1e-12)
    assert score_of(WEIGHTS, objectives, 1.0, EPOCH_MS) == pytest.approx(0.0, abs=1e-12)


def test_a_post_older_than_2020_has_negative_recency() -> None:
    assert recency_of(WEIGHTS, EPOCH_MS - 12 * HOUR_MS) == -0.5


@pytest.mark.parametrize("missing", [{}, {"quality": None}, {"engagement": None}])
def test_objectives_that_are_missing_count_as_nothing(missing: dict[str, float | None]) -> None:
    values = {"quality": 0.5, **missing}
    expected = math.log2(0.5 * 0.5) if values["quality"] else -40.0
    assert score_of(WEIGHTS, values, 1.0, EPOCH_MS) == expected


def test_a_sum_of_nothing_counts_as_the_least_sum_before_demotion() -> None:
    assert LEAST_SUM == 2.0**-40
    assert score_of(WEIGHTS, {}, 1.0, EPOCH_MS) == -40.0
    assert score_of(WEIGHTS, {}, 0.5, EPOCH_MS) == -41.0
    assert score_of(WEIGHTS, {"quality": 2.0**-39}, 1.0, EPOCH_MS) == -40.0
    assert score_of(WEIGHTS, {"quality": 2.0**-38}, 1.0, EPOCH_MS) == -39.0


def test_without_a_half_life_age_does_not_count() -> None:
    eternal = Weights({"quality": 1.0}, {"quality": 1.0}, half_life_hours=None)
    scores = {score_of(eternal, {"quality": 0.5}, 1.0, at) for at in (0, EPOCH_MS, 2 * EPOCH_MS)}
    assert scores == {-1.0}
    assert recency_of(eternal, EPOCH_MS + HOUR_MS) == 0.0


@given(
    quality=st.floats(0, 1, width=32),
    engagement=st.floats(0, 1, width=32),
    factor=st.sampled_from((1.0, 0.5, 0.01)),
    age_hours=st.floats(-1e5, 1e5),
)
def test_a_half_life_more_of_age_costs_one(
    quality: float, engagement: float, factor: float, age_hours: float
) -> None:
    values = {"quality": quality, "engagement": engagement}
    created_ms = EPOCH_MS + int(age_hours * HOUR_MS)
    newer = score_of(WEIGHTS, values, factor, created_ms + 24 * HOUR_MS)
    assert newer - score_of(WEIGHTS, values, factor, created_ms) == pytest.approx(1.0, abs=1e-9)
    assert np.isfinite(newer)
