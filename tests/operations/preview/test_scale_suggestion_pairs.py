"""Scales by pairs of posts: planted deviations are found, and only pairs of one community count."""

import numpy as np
import numpy.typing as npt
import pytest

from feedmill.operations.preview.scale_suggestion import (
    LEAST_SHARE,
    Disagreements,
    disagreements,
    fairest_scale,
)

FIRST_SD = 0.18


def planted(sd: float, seed: int = 1, posts: int = 4_000, communities: int = 80) -> Disagreements:
    """Two signals without a relation; each community has a level of its own."""
    random = np.random.default_rng(seed)
    number = random.integers(0, communities, posts)
    level = random.normal(0, 5, communities)[number]
    first, other = random.normal(0, FIRST_SD, posts), random.normal(0, sd, posts)
    return disagreements(number, level + first, other - level)


def all_ratios(
    number: npt.NDArray[np.int64], first: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> list[float]:
    """Of every pair, one by one."""
    return [
        abs(first[i] - first[j]) / abs(other[i] - other[j])
        for i in range(len(number))
        for j in range(i)
        if number[i] == number[j] and (first[i] - first[j]) * (other[i] - other[j]) < 0
    ]


def test_drawn_pairs_have_the_quantiles_of_all_pairs() -> None:
    random = np.random.default_rng(3)
    number = random.integers(0, 12, 700)
    first, other = random.random(700), random.normal(0, 0.02, 700) - number
    drawn, every = disagreements(number, first, other), np.array(all_ratios(number, first, other))
    for scale in np.quantile(every, (0.1, 0.25, 0.5, 0.75, 0.9)).tolist():
        assert drawn.share(scale) == pytest.approx((every < scale).mean(), abs=0.03)
    assert set(np.unique(drawn.communities)) == set(range(12))


def test_the_scale_of_planted_deviations_is_found() -> None:
    # The ratio of two normal deviates has the quartiles tan(22.5°) and tan(67.5°).
    pairs = planted(sd=0.002)
    assert fairest_scale({"all": pairs}) == pytest.approx(FIRST_SD / 0.002, rel=0.05)
    assert pairs.share(FIRST_SD / 0.002) == pytest.approx(0.5, abs=0.02)
    assert pairs.fair_range == pytest.approx((90 * 0.4142, 90 * 2.4142), rel=0.08)


@pytest.mark.parametrize(("times", "is_fair"), [(5.0, True), (7.0, False)])
def test_one_scale_is_fair_where_deviations_differ_by_less_than_the_quartiles_do(
    times: float, is_fair: bool
) -> None:
    """Those of normal deviates are 5.8 times apart."""
    kinds = {"few": planted(0.002), "many": planted(0.002 * times, seed=2)}
    scale = fairest_scale(kinds)
    assert scale == pytest.approx(90 / np.sqrt(times), rel=0.06)
    shares = [pairs.share(scale) for pairs in kinds.values()]
    assert shares[0] == pytest.approx(1 - shares[1], abs=0.02)
    assert (min(*shares, *(1 - share for share in shares)) >= LEAST_SHARE) is is_fair


def test_the_interval_has_the_width_that_other_draws_of_communities_show() -> None:
    shares = [planted(0.002, seed, posts=800, communities=16).share(60) for seed in range(60)]
    low, high = planted(0.002, 99, posts=800, communities=16).interval(60)
    assert 1.5 * np.std(shares) < high - low < 8 * np.std(shares)


def test_a_post_alone_in_its_community_makes_no_pair() -> None:
    assert not len(disagreements(np.arange(50), np.arange(50.0), -np.arange(50.0)).ratios)
