"""Sequences and e-values against other programs' and against brute force."""

import numpy as np
import pytest
from scipy.stats import binom, dirichlet_multinomial, multinomial
from ville._boundaries import best_rho, normal_mixture

from feedmill.experiments.anytime_intervals import (
    bet_log_e,
    harm_bounds,
    harm_log_e,
    no_harm_log_e,
    radius,
    ratio_log_e,
    tuning,
)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7])
def test_the_radius_is_villes_normal_mixture(alpha: float) -> None:
    users = np.array([500.0, 3_000.0, 20_000.0, 400_000.0])
    errors = 3.7 / np.sqrt(users)
    ours = radius(errors, users, tuned=20_000, alpha=alpha)
    same = normal_mixture(users, alpha, 1 / tuning(20_000, alpha)) / users * 3.7
    assert np.allclose(ours, same, rtol=1e-12)
    # Tuned by minimising the width itself: the formula of the paper is as tight to a thousandth.
    best = normal_mixture(users, alpha, best_rho(20_000, alpha)) / users * 3.7
    assert np.allclose(ours[2], best[2], rtol=1e-3)


def test_the_radius_of_one_side_is_close_to_villes_and_never_less() -> None:
    users = np.array([500.0, 3_000.0, 20_000.0, 400_000.0])
    ours = radius(1 / np.sqrt(users), users, tuned=20_000, alpha=0.05, sides=1)
    exact = normal_mixture(users, 0.05, 1 / tuning(20_000, 0.1), one_sided=True) / users
    assert (ours >= exact).all()
    assert np.allclose(ours, exact, rtol=0.02)


def test_the_e_value_of_ratios_is_a_quotient_of_probabilities() -> None:
    counts, shares = np.array([431, 390, 179]), np.array([4000, 4000, 2000])
    expected = shares / shares.sum()
    mixed = dirichlet_multinomial.logpmf(counts, 1_000 * expected, counts.sum())
    plain = multinomial.logpmf(counts, counts.sum(), expected)
    assert ratio_log_e(counts, list(shares)) == pytest.approx(mixed - plain)


def test_a_bet_is_the_product_of_its_steps() -> None:
    came, owned = np.random.default_rng(1).random(400) < 0.45, 1.0
    share, null, on = 0.4, 1.2, 1.0
    p_null, p_on = (share * x / (share * x + 1 - share) for x in (null, on))
    for treated in came:
        owned *= p_on / p_null if treated else (1 - p_on) / (1 - p_null)
    found = bet_log_e(int((~came).sum()), int(came.sum()), share=share, null=null, bet=on)
    assert float(found) == pytest.approx(np.log(owned))


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_bets_gain_nothing_in_the_mean_if_there_is_nothing(share: float) -> None:
    """Over all ways in which 60 events can fall on the arms: a martingale has the mean 1."""
    treated = np.arange(61)
    odds = binom.pmf(treated, 60, share)
    assert float(odds @ np.exp(harm_log_e(60 - treated, treated, share))) == pytest.approx(1.0)
    at_margin = share * 1.25 / (share * 1.25 + 1 - share)
    odds = binom.pmf(treated, 60, at_margin)
    assert float(odds @ np.exp(no_harm_log_e(60 - treated, treated, share, 0.25))) == pytest.approx(
        1.0
    )


def test_the_bounds_of_a_harm_are_where_its_bets_end() -> None:
    control, treated = np.array([30.0, 400.0, 900.0]), np.array([31.0, 480.0, 1_100.0])
    low, high = harm_bounds(control, treated, 0.5, 0.05)
    needed = np.log(20)
    assert low[0] < low[1] < 480 / 400 < high[1]
    assert low[1] < low[2] < 1_100 / 900 < high[2]
    assert high[2] > 1.3
    # Each look stands for itself.
    assert harm_log_e(control, treated, 0.5, low)[1:] == pytest.approx(needed, abs=1e-4)
    assert no_harm_log_e(control, treated, 0.5, high - 1) == pytest.approx(needed, abs=1e-4)
