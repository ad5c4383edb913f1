"""Differences and their errors against statsmodels', over the same users."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from builders.experiment_tables import experiment_of
from builders.experiment_users import readers
from feedmill.experiments.anytime_intervals import Values
from feedmill.experiments.checks import ExperimentRecord
from feedmill.experiments.effects import (
    Contrast,
    arm_moments,
    contrast,
    days_of,
    effect_of,
    moments_by_look,
    other_lists,
)
from feedmill.experiments.report import ArmReport, report_of
from feedmill.experiments.table import DAY_MS, UserTable

Arms = NDArray[np.int64]

USERS = 4_000


@pytest.fixture(scope="module")
def users() -> tuple[Values, Arms]:
    """Columns of users, and their arm."""
    columns, _ = readers(np.random.default_rng(3), USERS)
    return columns, np.random.default_rng(4).integers(2, size=USERS)


def found(columns: Values, arm: Arms, *, factor: float = 1.0, adjusted: bool = True) -> Contrast:
    moments = moments_by_look(columns, arm, np.zeros(len(arm), dtype=np.int64))
    control, treated = arm_moments(moments, 0), arm_moments(moments, 1)
    return contrast(control, treated, factor=factor, adjusted=adjusted)


def test_a_difference_of_ratios_is_a_regression_of_impressions_clustered_by_user(
    users: tuple[Values, Arms],
) -> None:
    columns, arm = users
    taken, shown = columns[:, 0].astype(int), columns[:, 1].astype(int)
    user = np.repeat(np.arange(USERS), shown)
    outcome = (np.arange(len(user)) - np.repeat(shown.cumsum() - shown, shown)) < taken[user]
    model = sm.OLS(outcome.astype(float), sm.add_constant(arm[user].astype(float)))
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": user, "use_correction": False})
    ours = found(columns, arm, adjusted=False)
    assert ours.estimate[0] == pytest.approx(fit.params[1], rel=1e-9)
    assert ours.standard_error[0] == pytest.approx(fit.bse[1], rel=1e-3)


def test_covariates_of_a_mean_are_a_regression_within_arms(users: tuple[Values, Arms]) -> None:
    columns, arm = users
    # Per user: the denominator is 1, and the covariates are the sum before and whether it is known.
    columns = np.column_stack([columns[:, 0], np.ones(USERS), columns[:, 2:]])
    ours = found(columns, arm)
    centred = columns[:, 2:] - columns[:, 2:].mean(axis=0)
    fit = sm.OLS(columns[:, 0], np.column_stack([np.ones(USERS), arm, centred])).fit()
    assert ours.estimate[0] == pytest.approx(fit.params[1], rel=0.02)
    assert ours.standard_error[0] == pytest.approx(fit.bse[1], rel=0.01)
    assert ours.standard_error[0] < found(columns, arm, adjusted=False).standard_error[0] * 0.9


def test_a_margin_moves_the_difference_by_its_part_of_the_control(
    users: tuple[Values, Arms],
) -> None:
    columns, arm = users
    plain, moved = (found(columns, arm, factor=factor, adjusted=False) for factor in (1.0, 0.9))
    assert moved.estimate[0] - plain.estimate[0] == pytest.approx(0.1 * plain.control[0])


def test_a_covariate_that_says_nothing_changes_nothing(users: tuple[Values, Arms]) -> None:
    columns, arm = users
    silent = np.column_stack([columns[:, :2], np.ones((USERS, 3))])
    adjusted, plain = (found(silent, arm, adjusted=one) for one in (True, False))
    assert adjusted.estimate == pytest.approx(plain.estimate)
    assert adjusted.standard_error == pytest.approx(plain.standard_error)


DAYS, WINDOW = 28, 4
EXPERIMENT = experiment_of(guardrails={}, planned_n=10_000)


def table_of(
    seed: int,
    users: int,
    *,
    noise: float,
    uplift: float = 0.0,
    late: float | None = None,
    alike: float = 0.0,
) -> UserTable:
    """Users of four weeks with windows of three days, in vectors of their own.

    Those who come after the tenth day have the uplift `late`.  Lists of a day and the next
    correlate by `alike`.
    """
    rng = np.random.default_rng(seed)
    arm, day = rng.integers(2, size=users), rng.integers(DAYS, size=users)
    shown = rng.poisson(5 * rng.lognormal(-0.5, 1, users)[:, None], (users, WINDOW))
    drawn = rng.standard_normal((2, DAYS + WINDOW))
    for day_before, one in pairwise(drawn.T):
        one[:] = alike * day_before + np.sqrt(1 - alike**2) * one
    luck = 1 + noise * drawn
    own = rng.beta(20, 80, users)
    rate = own[:, None] * luck[arm[:, None], day[:, None] + np.arange(WINDOW)]
    lift = np.where(day < 10, uplift, uplift if late is None else late) * arm
    taken = rng.binomial(shown, rate * (1 + lift[:, None]))
    impressions = shown.sum(axis=1).astype(np.float64)
    before = rng.poisson(3 * impressions)
    return UserTable(
        arm=arm,
        computed_arm=arm,
        first_exposure_ms=((20_000 + day) * DAY_MS).astype(np.float64),
        complete=np.ones(users, dtype=np.bool_),
        served=impressions,
        impressions=impressions,
        impressions_before=before.astype(np.float64),
        sums={"take_rate": taken.sum(axis=1).astype(np.float64)},
        sums_before={"take_rate": rng.binomial(before, own).astype(np.float64)},
        elsewhere={},
        day_impressions=shown.astype(np.float64),
        day_sums=taken.astype(np.float64),
        arm_count=np.ones(users),
    )


def arm_of(table: UserTable) -> ArmReport:
    known = ExperimentRecord(gaps=(), overlap={"fresher": 0.6})
    (arm,) = report_of("fresher", table, EXPERIMENT, known).arms
    return arm


def test_the_noise_is_that_of_a_regression_clustered_by_user_and_day() -> None:
    table = table_of(1, 2_000, noise=0.3)
    shown, taken = table.day_impressions, table.day_sums
    assert shown is not None and taken is not None
    _, between, by_users, shares = days_of(table, taken, shown)
    assert 10 < 1 / (shares**2).sum() < DAYS + WINDOW
    count = shown.astype(int).ravel()
    outcome = np.concatenate(
        [np.arange(n) < t for n, t in zip(count, taken.ravel(), strict=True)]
    ).astype(np.float64)
    user, arm, day = (
        np.repeat(np.broadcast_to(one, shown.shape).ravel(), count)
        for one in (
            np.arange(len(shown))[:, None],
            table.arm[:, None],
            table.entry_day[:, None] + np.arange(WINDOW),
        )
    )
    model = sm.OLS(outcome, sm.add_constant(arm.astype(np.float64)))
    variances = [
        float(
            model.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}).bse[
                1
            ]
            ** 2
        )
        for groups in (user, np.stack([user, day - day.min()], axis=1))
    ]
    beyond = between @ between - np.trace(by_users)
    assert beyond > 0
    assert beyond == pytest.approx(variances[1] - variances[0], rel=1e-6)


@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_lists_that_differ_by_chance_give_no_verdict(noise: float) -> None:
    found = [arm_of(table_of(seed, 24_000, noise=noise)) for seed in range(30)]
    by_user = sum(arm.effects[0].better or arm.effects[0].worse for arm in found)
    assert sum(arm.verdict in {"ship", "stop"} for arm in found) <= 1
    # By user alone they would have been called different.
    assert by_user >= (6 if noise == 0.05 else 1)


def test_lists_that_stay_good_for_days_give_few_verdicts_and_are_named() -> None:
    found = [arm_of(table_of(seed, 24_000, noise=0.1, alike=0.8)) for seed in range(40)]
    assert sum(arm.verdict in {"ship", "stop"} for arm in found) <= 5
    # By user alone nearly all of them would have been called different.
    assert sum(arm.effects[0].better or arm.effects[0].worse for arm in found) >= 20
    alike = [arm.other_lists.alike for arm in found if arm.other_lists is not None]
    assert np.mean(alike) > 0.5
    apart = [arm_of(table_of(seed, 24_000, noise=0.1)).other_lists for seed in range(20)]
    assert np.mean([one.alike for one in apart if one is not None]) < 0.25


def test_an_effect_beyond_the_noise_of_lists_is_shipped_and_named() -> None:
    arm = arm_of(table_of(3, 24_000, noise=0.02, uplift=0.2))
    assert arm.verdict == "ship"
    assert arm.other_lists is not None
    difference, lower, upper, _ = arm.other_lists
    assert 0 < lower < arm.effects[0].lower[-1] < difference < upper


def test_without_days_or_with_one_nothing_is_shipped() -> None:
    table = table_of(3, 24_000, noise=0.0, uplift=0.2)
    effect = effect_of(table, EXPERIMENT, "take_rate", "fresher")
    for bare in (
        replace(table, day_impressions=None, day_sums=None),
        replace(
            table,
            first_exposure_ms=0 * table.first_exposure_ms,
            day_impressions=table.impressions[:, None],
            day_sums=table.sums["take_rate"][:, None],
        ),
    ):
        assert other_lists(bare, EXPERIMENT, effect) is None
        arm = arm_of(bare)
        assert arm.verdict != "ship"
        assert "what other lists of the same settings do nobody knows yet" in arm.reason


def test_early_readers_that_differ_from_late_ones_leave_an_interval_of_all() -> None:
    """+30 % for who comes early, -5 % later: the last interval has the mean of all."""
    truth = 0.2 * (0.3 * 10 - 0.05 * 18) / DAYS
    covered = 0
    for seed in range(8):
        arm = arm_of(table_of(seed, 24_000, noise=0.0, uplift=0.3, late=-0.05))
        primary = arm.effects[0]
        covered += bool(primary.lower[-1] < truth < primary.upper[-1])
        assert (arm.verdict, primary.changed) == ("not shown", True)
        assert "the effect changed" in arm.reason
    assert covered >= 7


@pytest.mark.parametrize("share", [0.05, 0.09])
def test_one_user_does_not_make_equal_arms_differ(share: float) -> None:
    """A bot has this part of all takes, in the window as before."""
    for seed in range(4):
        table = table_of(seed, 24_000, noise=0.0)
        assert table.impressions_before is not None
        bot = int(np.argmax(table.arm))
        takes = share * table.sums["take_rate"].sum()
        table.sums["take_rate"][bot], table.impressions[bot] = takes, 1.3 * takes
        table.sums_before["take_rate"][bot] = 3 * takes
        table.impressions_before[bot] = 4 * takes
        effect = effect_of(table, EXPERIMENT, "take_rate", "fresher")
        assert (effect.better, effect.worse) == (False, False)
        assert abs(effect.estimates[-1]) < 0.02 * effect.control
