"""Simulated users of experiments, and how thousands of experiments are drawn from them at once.

A `Population` is a pool of batches of users, each already summed.  An experiment draws batches
with replacement, so that the pool's own value is the truth to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedmill.experiments.anytime_intervals import Values
from feedmill.experiments.effects import Moments

# Users of a batch.
BATCH = 100
# How long the period before is, in windows: with it the covariates explain r² = 0.36.
BEFORE = 0.22


@dataclass(frozen=True)
class Population:
    """Batches of users: sums (batches, columns), and of products (batches, columns, columns)."""

    sums: Values
    products: Values

    @property
    def value(self) -> float:
        """The ratio of numerator to denominator of all users."""
        return float(self.sums[:, 0].sum() / self.sums[:, 1].sum())


def population(users: Values) -> Population:
    """Return the population of users (users, columns)."""
    batches = users.reshape(-1, BATCH, users.shape[1])
    return Population(batches.sum(axis=1), np.einsum("bui,buj->bij", batches, batches))


def readers(
    rng: np.random.Generator, users: int, *, uplift: float = 0.0, heavy: float = 1.0
) -> tuple[Values, Values]:
    """Return the same readers (users, 5) without and with an uplift of their quality actions.

    Columns are quality actions, impressions, both of before, new or not.  A reader has a rate of
    their own, 5 % in the mean, and impressions around a level of their own, 20 in the mean; `heavy`
    is the standard deviation of its logarithm.  A fifth has no period before.
    """
    level = 20 * np.exp(heavy * rng.standard_normal(users) - heavy**2 / 2)
    rate = rng.beta(0.47, 0.47 * 19, users)
    new = rng.random(users) < 0.2
    impressions, before = rng.poisson(level), np.where(new, 0, rng.poisson(BEFORE * level))
    taken, taken_before = rng.binomial(impressions, rate), rng.binomial(before, rate)
    # Whose rate is high already cannot all be lifted so far: the others make up for it.
    more = np.minimum(1.0, uplift * rate / (1 - rate))
    more *= uplift * taken.sum() / max(1e-9, (more * (impressions - taken)).sum())
    lifted = taken + rng.binomial(impressions - taken, np.minimum(1.0, more))
    control, treated = (
        np.stack([y, impressions, taken_before, before, new], axis=1, dtype=np.float64)
        for y in (taken, lifted)
    )
    return control, treated


def looks_of(
    rng: np.random.Generator, drawn: Population, experiments: int, looks: int, batches: int
) -> Moments:
    """Return the moments of (experiments, looks), of so many more batches at each look."""
    shape = drawn.sums.shape[1]
    users = np.broadcast_to(np.arange(1, looks + 1) * float(batches * BATCH), (experiments, looks))
    rows = rng.integers(len(drawn.sums), size=(experiments, looks, batches))
    sums = np.zeros((experiments, looks, shape))
    products = np.zeros((experiments, looks, shape, shape))
    for at in range(batches):
        sums += drawn.sums[rows[..., at]]
        products += drawn.products[rows[..., at]]
    return Moments.of_sums(users, sums.cumsum(axis=1), products.cumsum(axis=1))
