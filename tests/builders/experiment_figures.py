"""How often the statistics of experiments are right, over simulated experiments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import norm

from builders.experiment_users import BATCH, Population, looks_of, population, readers
from feedmill.experiments.anytime_intervals import (
    Values,
    harm_log_e,
    no_harm_log_e,
    radius,
    ratio_log_e,
)
from feedmill.experiments.effects import Moments, contrast

ALPHA = 0.05
POOL = 500_000
# Experiments at a time: as many as fit well into memory.
_AT_ONCE = 50


@dataclass(frozen=True)
class Rates:
    """Shares of experiments: where the sequence once excluded no effect, above or at all, and where
    it always covered the truth; the same of the naive interval; and the estimates at the end."""

    found: float
    excluded: float
    covered: float
    naive: float
    estimates: Values
    standard_errors: Values


@cache
def pools(uplift: float, heavy: float) -> tuple[Population, Population]:
    """Control and treated; without an uplift they are the same pool, so that the truth is 0."""
    control, treated = readers(np.random.default_rng(11), POOL, uplift=uplift, heavy=heavy)
    return population(control), population(treated if uplift else control)


def experiments_of(
    seeds: int,
    *,
    looks: int,
    batches: int,
    planned: int,
    uplift: float = 0.0,
    heavy: float = 1.0,
    adjusted: bool = False,
) -> Rates:
    """Run experiments with so many looks and batches of users an arm at each.

    `planned` is the planned n, users an arm, by which the sequence is tuned.
    """
    control, treated = pools(uplift, heavy)
    truth = treated.value - control.value
    rng = np.random.default_rng(12)
    rows: list[list[Any]] = []
    for start in range(0, seeds, _AT_ONCE):
        some = min(_AT_ONCE, seeds - start)
        arms = [looks_of(rng, pool, some, looks, batches) for pool in (control, treated)]
        found = contrast(arms[0], arms[1], adjusted=adjusted)
        reach = radius(found.standard_error, found.users, tuned=2 * planned, alpha=ALPHA)
        naive = norm.ppf(1 - ALPHA / 2) * found.standard_error
        rows.append(
            [
                (found.estimate > reach).any(axis=1),
                (np.abs(found.estimate) > reach).any(axis=1),
                (np.abs(found.estimate - truth) <= reach).all(axis=1),
                (np.abs(found.estimate) > naive).any(axis=1),
                found.estimate[:, -1],
                found.standard_error[:, -1],
            ]
        )
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    above, excluded, covered, by_naive = (float(column.mean()) for column in columns[:4])
    return Rates(above, excluded, covered, by_naive, columns[4], columns[5])


def explained(heavy: float = 1.0) -> float:
    """Return which part of the variance of all users in the pool the covariates explain, r²."""
    pool = pools(0.0, heavy)[0]
    users = np.array(float(len(pool.sums) * BATCH))
    whole = Moments.of_sums(users, pool.sums.sum(axis=0), pool.products.sum(axis=0))
    plain, adjusted = (contrast(whole, whole, adjusted=one) for one in (False, True))
    return float(1 - (adjusted.standard_error / plain.standard_error) ** 2)


def harm(seeds: int, rates: tuple[float, float], users: int, margin: float) -> tuple[float, float]:
    """Return how often a harm is found, and how often it is shown to be below the margin."""
    rng, looks = np.random.default_rng(13), 28
    control, treated = (
        rng.binomial(users // looks, rate, (seeds, looks)).cumsum(axis=1) for rate in rates
    )
    needed = -np.log(ALPHA)
    harmed = harm_log_e(control, treated, 0.5) >= needed
    spared = no_harm_log_e(control, treated, 0.5, margin) >= needed
    return float(harmed.any(axis=1).mean()), float(spared.any(axis=1).mean())


def ratio(seeds: int, arms: int, users: int, lost: float) -> float:
    """Return how often the ratio test stops if the last arm loses this part of its users."""
    rng, looks = np.random.default_rng(14), 100
    came = np.full(arms, 1.0)
    came[-1] -= lost
    counts = rng.multinomial(users // looks, came / came.sum(), (seeds, looks)).cumsum(axis=1)
    return float((ratio_log_e(counts, [1] * arms) >= np.log(1_000)).any(axis=1).mean())
