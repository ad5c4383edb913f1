"""How often the statistics of experiments are right, over simulated experiments.

`python -m builders.experiment_figures`, with tests/ on the path, prints error rates and power.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def figures() -> Iterator[tuple[str, str]]:
    """Yield each figure at full size, by what it is."""
    for looks, batches in ((28, 8), (100, 4)):
        for heavy in (1.0, 1.7):
            one = experiments_of(
                1_000, looks=looks, batches=batches, planned=looks * batches * BATCH, heavy=heavy
            )
            name = f"A/A, {looks} looks, heavy {heavy}"
            yield name, f"{one.excluded:.3f} beside naive {one.naive:.3f}"
    one = experiments_of(2_000, looks=1_000, batches=1, planned=10_000)
    yield "A/A, 1,000 looks, ten times n", f"{one.excluded:.3f} beside naive {one.naive:.3f}"
    for uplift in (0.05, 0.025):
        one = experiments_of(1_000, looks=28, batches=23, planned=64_400, uplift=uplift)
        yield f"+{uplift:.1%}, 64,400 an arm", f"found {one.found:.3f}, covered {one.covered:.3f}"
        one = experiments_of(
            1_000, looks=28, batches=23, planned=64_400, uplift=uplift, adjusted=True
        )
        yield "the same, CUPED", f"found {one.found:.3f}, covered {one.covered:.3f}"
    plain = experiments_of(1_000, looks=28, batches=8, planned=22_400)
    cuped = experiments_of(1_000, looks=28, batches=8, planned=22_400, adjusted=True)
    saved = 1 - cuped.estimates.var() / plain.estimates.var()
    yield "CUPED", f"r² {explained():.3f}, saved {saved:.3f}, A/A {cuped.excluded:.3f}"
    spread = plain.estimates.std(ddof=1)
    yield "delta method", f"error over spread {plain.standard_errors.mean() / spread:.3f}"
    yield "reporters 1 to 1.25 %", f"found {harm(5_000, (0.01, 0.0125), 63_000, 0.25)[0]:.3f}"
    for users, margin in ((63_000, 0.1), (63_000, 0.25), (250_000, 0.1)):
        false, shown = harm(5_000, (0.01, 0.01), users, margin)
        yield f"no harm, {users:,}, margin {margin}", f"shown {shown:.3f}, false {false:.3f}"
    for arms, users in ((2, 80_000), (8, 300_000)):
        stops = [ratio(5_000, arms, users, lost) for lost in (0.0, 0.05)]
        yield f"ratio, {arms} arms", f"false {stops[0]:.4f}, 5 % lost {stops[1]:.3f}"


if __name__ == "__main__":
    for name, value in figures():
        print(f"{name}: {value}", flush=True)
