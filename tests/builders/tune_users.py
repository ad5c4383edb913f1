"""Simulated arms for `feedmill tune`: readers' rates and reports, drawn in batches.

`benchmarks/tune_verdicts.py` prints coverage and error rates at full size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from builders.experiment_users import BATCH, Population, population, readers
from feedmill.experiments.moments import Moments
from feedmill.experiments.sequences import Values
from feedmill.experiments.tune_effects import Changes, changes_of, levels

# Take-rate with covariates, reporters, actions a user.
WIDTHS = (5, 2, 2)
SIGNS = np.array([1.0, -1.0, 1.0])
POOL = 300_000
# By what an arm multiplies each objective.
Lift = tuple[float, float, float]
EQUAL: Lift = (1.0, 1.0, 1.0)


@cache
def pool(lift: Lift) -> Population:
    """The same readers under an arm: its take-rate, reporters and actions."""
    rng = np.random.default_rng(11)
    plain, lifted = readers(rng, POOL, uplift=max(lift[0] - 1, 0.0))
    taken = lifted[:, 0]
    if lift[0] < 1:
        taken = rng.binomial(plain[:, 0].astype(int), lift[0]).astype(float)
    reports = rng.random(POOL) < 0.01 * lift[1]
    actions = rng.poisson((0.5 * plain[:, 0] + 0.5) * lift[2])
    one = np.ones(POOL)
    columns = (taken, plain[:, 1], *plain[:, 2:].T, reports, one, actions, one)
    return population(np.stack(columns, axis=1).astype(float))


def truth_of(lift: Lift) -> Values:
    """The logarithms of an arm's values: (3,)."""
    sums = pool(lift).sums.sum(axis=0)
    return np.log(sums[[0, 5, 7]] / sums[[1, 6, 8]])


@dataclass(frozen=True)
class Drawn:
    """One experiment: its changes, and the true ones."""

    changes: Changes
    truth: Values

    @property
    def covered(self) -> bool:
        """Whether every interval has the truth."""
        away = np.abs(self.changes.estimates - self.truth)
        return bool((away <= self.changes.reach).all())


def experiments(
    lifts: Sequence[Lift], users: int, seeds: int, objectives: Sequence[int] = (0, 1)
) -> Iterator[Drawn]:
    """Draw experiments of arms with these lifts, the control first."""
    columns = np.concatenate([np.arange(9)[_place(one)] for one in objectives])
    widths = [WIDTHS[one] for one in objectives]
    truth = np.array([truth_of(lift)[list(objectives)] for lift in lifts])
    rng = np.random.default_rng([len(lifts), users])
    at_once = 50
    for _ in range(0, seeds, at_once):
        arms = [_moments(rng, pool(lift), at_once, users // BATCH, columns) for lift in lifts]
        for seed in range(at_once):
            every = Moments(
                *(
                    np.stack([getattr(arm, name)[seed] for arm in arms])
                    for name in ("users", "means", "covariances")
                )
            )
            yield Drawn(changes_of(*levels(every, widths)), truth[1:] - truth[0])


def _place(objective: int) -> slice:
    first = sum(WIDTHS[:objective])
    return slice(first, first + WIDTHS[objective])


def _moments(
    rng: np.random.Generator, drawn: Population, seeds: int, batches: int, columns: Values
) -> Moments:
    width = len(columns)
    sums, products = np.zeros((seeds, width)), np.zeros((seeds, width, width))
    own, own_products = drawn.sums[:, columns], drawn.products[:, columns[:, None], columns]
    for _ in range(batches):
        rows = rng.integers(len(own), size=seeds)
        sums += own[rows]
        products += own_products[rows]
    return Moments.of_sums(np.full(seeds, float(batches * BATCH)), sums, products)


def covered(arms: int, users: int, seeds: int) -> float:
    """How often all intervals of equal arms have the truth."""
    return float(np.mean([one.covered for one in experiments([EQUAL] * arms, users, seeds)]))
