"""Differences and their errors against statsmodels', over the same users."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from builders.experiment_users import readers
from feedmill.experiments.effects import arm_moments, moments_by_look
from feedmill.experiments.moments import Contrast, contrast
from feedmill.experiments.sequences import Values

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
