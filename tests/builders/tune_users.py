"""Simulated arms for `feedmill tune`: readers' rates and reports, drawn in batches.

`python -m builders.tune_users`, with tests/ on the path, prints the figures at full size.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from builders.experiment_tables import experiment_of
from builders.experiment_users import BATCH, Population, population, readers
from feedmill.events.experiment import Experiment
from feedmill.experiments.anytime_intervals import Values
from feedmill.experiments.effects import Moments
from feedmill.experiments.tune_effects import Changes, changes_of, levels, off_front
from feedmill.experiments.tune_front import best_of, front_arms

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
    return np.asarray(np.log(sums[[0, 5, 7]] / sums[[1, 6, 8]]))


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


# --- which arm is recommended ---------------------------------------------------------------

# By shape the gains of four arms beside the control, as parts of the largest.
SHAPES = {
    "plateau": (1.0, 1.0, 1.0, 0.9),
    "step": (-0.5, 0.0, 1.0, 1.0),
    "narrow peak": (0.0, 0.0, 1.0, 0.0),
    "hinge": (0.0, 0.5, 1.0, 1.0),
    "lopsided": (-0.5, 0.5, 1.0, -1.0),
    "two peaks": (1.0, 0.0, 0.0, 0.9),
}


def setting(arms: int) -> Experiment:
    """An experiment of so many arms on one dial, with guardrails on reports and actions."""
    share = 10_000 // arms
    others = [
        {"name": f"a{n}", "share": share, "weights": {"half_life_hours": 24 + n}}
        for n in range(1, arms)
    ]
    control = {"name": "a0", "share": 10_000 - share * (arms - 1)}
    return experiment_of(arms=[control, *others], guardrails={"reporters": 0.25, "actions": 0.1})


def recommended(lifts: Sequence[Lift], users: int, seeds: int) -> list[int]:
    """Which arm is recommended in each experiment, 0 for the control."""
    experiment = setting(len(lifts))
    stands = {name: {"half_life_hours": float(n)} for n, name in enumerate(experiment.shares)}
    found = []
    for one in experiments(lifts, users, seeds, (0, 1, 2)):
        best = best_of(front_arms(experiment, one.changes, 28, stands), experiment)
        found.append([*experiment.shares].index(best.name))
    return found


def of_shape(shape: str, gain: float, seeds: int, users: int = 80_000) -> tuple[float, float]:
    """How often four fifths of the gain are had, and how often an arm is recommended."""
    lifts = [EQUAL, *((1 + gain * part, 1.0, 1.0) for part in SHAPES[shape])]
    truths = np.array([truth_of(lift)[0] for lift in lifts])
    had = np.expm1(truths - truths[0])
    found = recommended(lifts, users, seeds)
    enough = [had[arm] >= 0.8 * had.max() for arm in found]
    return float(np.mean(enough)), float(np.mean([arm > 0 for arm in found]))


def figures(seeds: int) -> Iterator[str]:
    """Yield each figure at full size."""
    for arms in (5, 8):
        for users in (2_000, 8_000, 64_000):
            share = covered(arms, users, seeds)
            yield f"{arms} arms of {users:,}: together they cover in {share:.1%}"
        equal = recommended([EQUAL] * arms, 16_000, seeds)
        yield f"{arms} equal arms of 16,000: one recommended in {np.mean(np.array(equal) > 0):.1%}"
    for arms in (5, 8):
        flat = [
            off_front(one.changes, SIGNS[:1])
            for one in experiments([EQUAL] * arms, 16_000, seeds, (0,))
        ]
        first = np.mean([one[0] for one in flat])
        some = np.mean([one.any() for one in flat])
        yield f"{arms} equal arms, one objective: any off {some:.1%}, control {first:.1%}"
    signs = SIGNS[[0, 2]]
    for arms in (5, 8):
        lifts = [*[EQUAL] * (arms - 1), (0.95, 1.0, 0.95)]
        off = np.array(
            [off_front(one.changes, signs) for one in experiments(lifts, 80_000, seeds, (0, 2))]
        )
        worse, others = off[:, -1].mean(), off[:, :-1].mean()
        yield f"{arms} arms: worse in two off {worse:.1%}, others {others:.1%}"
    for gain in (0.1, 0.05):
        for shape in SHAPES:
            enough, any_arm = of_shape(shape, gain, seeds // 2)
            yield f"{shape}, {gain:.0%}: four fifths in {enough:.1%}, recommended {any_arm:.1%}"


if __name__ == "__main__":
    for line in figures(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000):
        print(line, flush=True)
