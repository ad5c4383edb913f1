"""Error rates and power over simulated experiments, at full size."""

import pytest

from builders.experiment_figures import experiments_of, explained, harm, ratio


@pytest.mark.parametrize("heavy", [1.0, 1.7])
@pytest.mark.parametrize(("looks", "batches"), [(28, 8), (100, 4)])
def test_equal_arms_are_rarely_found_different_at_any_look(
    looks: int, batches: int, heavy: float
) -> None:
    planned = looks * batches * 100
    found = experiments_of(1_000, looks=looks, batches=batches, planned=planned, heavy=heavy)
    assert found.excluded <= 0.04
    # What a usual interval does if one looks so often.
    assert found.naive > 0.2


def test_nor_are_they_at_a_thousand_looks_to_ten_times_the_plan() -> None:
    found = experiments_of(2_000, looks=1_000, batches=1, planned=10_000)
    assert found.excluded <= 0.05
    assert found.naive > 0.4


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_planted_effect_is_found_at_the_planned_size_and_covered(adjusted: bool) -> None:
    whole, half = (
        experiments_of(
            1_000, looks=28, batches=23, planned=64_400, uplift=uplift, adjusted=adjusted
        )
        for uplift in (0.05, 0.025)
    )
    assert whole.found >= 0.75
    assert half.found < whole.found
    assert min(whole.covered, half.covered) >= 0.985


def test_covariates_save_what_they_explain_and_cost_no_errors() -> None:
    plain, cuped = (
        experiments_of(1_000, looks=28, batches=8, planned=22_400, adjusted=one)
        for one in (False, True)
    )
    saved = 1 - cuped.estimates.var() / plain.estimates.var()
    assert 0.33 < explained() < 0.42  # r = 0.6
    assert abs(saved - explained()) < 0.05
    assert cuped.excluded <= 0.04
    # The delta method's error is the spread of the estimates.
    for one in (plain, cuped):
        assert abs(one.standard_errors.mean() / one.estimates.std(ddof=1) - 1) < 0.05


def test_a_rare_harm_is_found_and_none_is_shown_to_be_none() -> None:
    found, spared = harm(2_000, (0.01, 0.0125), 63_000, 0.25)
    assert found >= 0.8
    assert spared <= 0.05  # at the margin itself
    found, spared = harm(2_000, (0.01, 0.01), 63_000, 0.25)
    assert found <= 0.04
    assert spared >= 0.8


@pytest.mark.parametrize(("arms", "users"), [(2, 80_000), (8, 300_000)])
def test_a_ratio_that_is_wrong_stops_and_one_that_is_right_does_not(arms: int, users: int) -> None:
    assert ratio(2_000, arms, users, 0.0) <= 0.004
    assert ratio(2_000, arms, users, 0.05) >= 0.95
