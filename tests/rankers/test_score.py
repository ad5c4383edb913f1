"""`score_of` and `scores_of` against the contract's formula, and each other."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.weights import Weights
from feedmill.rankers.score import EPOCH_MS, LEAST_SUM, recency_of, score_of, scores_of

HOUR_MS = 3_600_000
WEIGHTS = Weights(
    objectives={"quality": 0.5, "engagement": 0.25, "novelty": 0.0},
    scale={"quality": 1.0, "engagement": 10.0, "novelty": 1.0},
    half_life_hours=24.0,
    costs={"report": 20.0, "hide": 0.0},
)


def test_the_score_is_the_logarithm_of_the_demoted_sum_and_the_half_lives_since_2020() -> None:
    objectives = {"quality": 0.5, "engagement": 0.3, "novelty": 9.0}
    created_ms = EPOCH_MS + 48 * HOUR_MS
    # 0.5 * 1 * 0.5 + 0.25 * 10 * 0.3 = 1; demoted by a quarter: -2; two half-lives: +2
    assert score_of(WEIGHTS, objectives, 0.25, created_ms) == pytest.approx(0.0, abs=1e-12)
    assert score_of(WEIGHTS, objectives, 1.0, created_ms) == pytest.approx(2.0, abs=1e-12)
    assert score_of(WEIGHTS, objectives, 1.0, EPOCH_MS) == pytest.approx(0.0, abs=1e-12)


def test_a_cost_takes_so_many_doublings_of_each_probability() -> None:
    values = {"quality": 0.5, "engagement": 0.3, "report": 0.125, "hide": 1.0}
    # 2.5 doublings for `report`, none for `hide`, which costs nothing here.
    assert score_of(WEIGHTS, values, 1.0, EPOCH_MS) == pytest.approx(-2.5, abs=1e-12)
    # Nothing is clipped: also a post whose sum is the least loses them, and two posts whose
    # reports differ never tie.
    assert score_of(WEIGHTS, {"report": 1.0}, 1.0, EPOCH_MS) == -60.0
    assert score_of(WEIGHTS, {"report": None}, 1.0, EPOCH_MS) == -40.0


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


@given(
    drawn=st.lists(
        st.tuples(*[st.floats(0, 1, width=32)] * 4, st.sampled_from((1.0, 0.5, 0.125))),
        min_size=1,
        max_size=40,
    ),
    half_life_hours=st.sampled_from((24.0, 0.3, None)),
    costs=st.fixed_dictionaries(
        dict.fromkeys(("report", "hide"), st.sampled_from((0.0, 7.3, 1e4)))
    ),
)
def test_many_are_scored_as_one_is(
    drawn: list[tuple[float, ...]], half_life_hours: float | None, costs: dict[str, float]
) -> None:
    weights = replace(WEIGHTS, half_life_hours=half_life_hours, costs=costs)
    names = ("quality", "engagement", "report", "hide")
    columns = np.array(drawn).T
    values = dict(zip(names, columns[:4].astype(np.float32), strict=True))
    created_ms = EPOCH_MS + np.arange(len(drawn)) * HOUR_MS
    many = scores_of(weights, values, columns[4], created_ms)
    one_by_one = [
        score_of(weights, dict(zip(names, one[:4], strict=True)), one[4], int(at))
        for one, at in zip(drawn, created_ms, strict=True)
    ]
    assert many.tolist() == one_by_one
