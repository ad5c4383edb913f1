"""Lists that differ by chance: what intervals by user, and over days, say of equal arms."""

import numpy as np
import pytest
from scipy.stats import norm, ttest_rel

from builders.experiment_figures import pools
from builders.experiment_users import BATCH
from feedmill.experiments.blocks import block_interval
from feedmill.experiments.moments import Moments, contrast


def test_the_interval_of_equal_blocks_is_that_of_their_paired_differences() -> None:
    rates = np.random.default_rng(1).random((2, 20))
    below = np.full((2, 20), 50.0)
    difference, lower, upper = block_interval(rates * below, below, 0.05)
    known = ttest_rel(rates[1], rates[0]).confidence_interval(0.95)
    assert difference == pytest.approx((rates[1] - rates[0]).mean())
    assert [float(lower), float(upper)] == pytest.approx([known.low, known.high])


@pytest.mark.parametrize(("deviation", "by_user"), [(0.0, 0.05), (0.05, 0.25)])
def test_days_cover_what_lists_do_by_chance_and_users_do_not(
    deviation: float, by_user: float
) -> None:
    """63,000 users an arm in 21 days; each day's list of each arm is better or worse by chance."""
    rng, pool = np.random.default_rng(2), pools(0.0, 1.0)[0]
    seeds, days, batches = 600, 21, 30
    rows = rng.integers(len(pool.sums), size=(seeds, 2, days, batches))
    luck = 1 + deviation * rng.standard_normal((seeds, 2, days))
    sums, products = pool.sums[rows].sum(axis=3), np.zeros((seeds, 2, 5, 5))
    scale = np.stack([luck, *[np.ones_like(luck)] * 4], axis=-1)
    for day in range(days):
        one = scale[:, :, day, :, None] * scale[:, :, day, None, :]
        products += pool.products[rows[:, :, day]].sum(axis=2) * one
    sums *= scale
    users = np.full((seeds, 2), float(days * batches * BATCH))
    arms = Moments.of_sums(users, sums.sum(axis=2), products)
    control, treated = (
        Moments(arms.users[:, arm], arms.means[:, arm], arms.covariances[:, arm]) for arm in (0, 1)
    )
    found = contrast(control, treated, adjusted=False)
    naive = np.abs(found.estimate) > norm.ppf(0.975) * found.standard_error
    _, lower, upper = block_interval(sums[..., 0], sums[..., 1], 0.05)
    wrong = (lower > 0) | (upper < 0)
    assert abs(float(naive.mean()) - by_user) < (0.03 if deviation == 0 else 0.1)
    assert abs(float(wrong.mean()) - 0.05) < 0.03
