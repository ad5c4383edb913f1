"""How often verdicts of experiments are false, and what they find, on users made by numpy alone.

    .venv/bin/python benchmarks/experiment_verdicts.py                    # all: an hour on one core
    .venv/bin/python benchmarks/experiment_verdicts.py --only moving --runs 40

Users have heavy-tailed, autocorrelated activity and rates of their own; nothing comes from the
simulation.  Each experiment is looked at on 14 days, and each look is the report that `feedmill
experiments analyse` prints.  Behind a part stands its exact 95 % interval.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import machine
import numpy as np
from scipy.stats import binomtest

from feedmill.events.experiment import Experiment, decode_experiment
from feedmill.events.signal import SignalNames
from feedmill.experiments.checks import ExperimentRecord
from feedmill.experiments.report import Report, report_of
from feedmill.experiments.table import DAY_MS, UserTable

STARTED_MS = 20_000 * DAY_MS
ENTRY_DAYS, EARLY_DAYS, WINDOW_DAYS, BEFORE_DAYS = 21, 10, 7, 14
# The first complete windows are of a day 7; two whole weeks of entries are complete on day 21.
LOOKS = range(ENTRY_DAYS + WINDOW_DAYS - 13, ENTRY_DAYS + WINDOW_DAYS + 1)
RECORD = ExperimentRecord(gaps=(), overlap={"b": 0.6})
Values = np.ndarray


@dataclass(frozen=True)
class PlantedEffects:
    """What is planted.

    Attributes
    ----------
    arm_users
        Users of each arm, who enter over three weeks.
    effect, late_effect
        By which part arm b lifts the takes of those who enter in the first ten days, and later.
    noise, noisy_arms
        By how much the list of a day makes its takes better or worse by chance, and in how many
        arms.
    bot
        Which part of all takes one user of arm b has.
    early_days
        So many days before the start one exposure is dated.
    tester
        Whether somebody entered arm b first, and had no impression.
    two_arms
        Which part of the users were shown both arms.
    elsewhere, depth
        By which part arm b changes takes in other feeds, and impressions of what was served.
    rates
        The two parameters of the beta distribution of users' rates of takes.
    """

    arm_users: int = 6_000
    effect: float = 0.0
    late_effect: float | None = None
    noise: float = 0.0
    noisy_arms: int = 2
    bot: float = 0.0
    early_days: int = 0
    tester: bool = False
    two_arms: float = 0.0
    elsewhere: float = 0.0
    depth: float = 0.0
    rates: tuple[float, float] = (0.6, 9.0)

    @property
    def lifts(self) -> tuple[float, float]:
        """The lift of early and of late users."""
        return self.effect, self.effect if self.late_effect is None else self.late_effect

    @property
    def truth(self) -> float:
        """The difference of the arms' rates over all users."""
        early, late = self.lifts
        mean = (early * EARLY_DAYS + late * (ENTRY_DAYS - EARLY_DAYS)) / ENTRY_DAYS
        return mean * self.rates[0] / sum(self.rates)


def experiment_of(world: PlantedEffects) -> Experiment:
    """The setting: the planned users are those who come."""
    treated = {"name": "b", "share": 5000, "weights": {"half_life_hours": 6}}
    value = {
        "arms": [{"name": "a", "share": 5000}, treated],
        "feeds": ["global"],
        "salt": "s",
        "planned_n": world.arm_users,
        "window_hours": WINDOW_DAYS * 24,
    }
    return decode_experiment(value, SignalNames())


def drawn(world: PlantedEffects, rng: np.random.Generator) -> UserTable:
    """Draw all users of an experiment, with what they do in their whole windows."""
    users = 2 * world.arm_users
    arm = rng.integers(2, size=users)
    entry = rng.random(users) * ENTRY_DAYS
    days = np.arange(WINDOW_DAYS + 1)
    shown, before = _activity(rng, users, entry)
    lift = 1 + np.where(entry < EARLY_DAYS, *world.lifts) * (arm == 1)
    served = rng.poisson(1.4 * shown.sum(axis=1)) + rng.poisson(8.0, users)
    shown = rng.poisson(shown * (1 + world.depth * (arm == 1))[:, None])
    luck = 1 + world.noise * rng.standard_normal((2, ENTRY_DAYS + WINDOW_DAYS + 1))
    luck[: 2 - world.noisy_arms] = 1.0
    rate = rng.beta(*world.rates, users)
    chance = rate[:, None] * lift[:, None] * luck[arm[:, None], entry.astype(int)[:, None] + days]
    taken = rng.binomial(shown, np.clip(chance, 0, 1))
    taken_before = rng.binomial(before, rate)
    elsewhere = rng.poisson(
        rng.lognormal(-0.5, 1, users) * (1 + world.elsewhere * (arm == 1))
    ).astype(float)
    first_ms = STARTED_MS + (entry * DAY_MS).astype(np.int64)
    two = np.where(rng.random(users) < world.two_arms, 2, 1)
    known: Values = np.where(rng.random(users) < 0.2, np.nan, 1.0)
    if world.bot:
        takes = world.bot / (1 - world.bot) * taken.sum() / (WINDOW_DAYS + 1)
        place = int(np.argmin(np.where(arm == 1, entry, np.inf)))
        taken[place], shown[place] = takes, takes * 1.3
        taken_before[place], before[place] = takes * 14, takes * 18
        known[place] = 1.0
    if world.tester:
        place = int(np.argsort(np.where(arm == 1, entry, np.inf))[1])
        first_ms[place], taken[place], shown[place] = STARTED_MS + 1, 0, 0
    if world.early_days:
        first_ms[int(np.argmax(arm))] = STARTED_MS - world.early_days * DAY_MS
    return UserTable(
        arm=arm,
        computed_arm=arm,
        first_exposure_ms=first_ms.astype(float),
        complete=np.zeros(users, dtype=bool),
        served=served,
        impressions=shown.sum(axis=1).astype(float),
        impressions_before=before * known,
        sums={"take_rate": taken.sum(axis=1).astype(float)},
        sums_before={"take_rate": taken_before * known},
        elsewhere={"take_rate": elsewhere},
        arm_count=two.astype(float),
        day_impressions=shown.astype(float),
        day_sums=taken.astype(float),
    )


def _activity(rng: np.random.Generator, users: int, entry: Values) -> tuple[Values, Values]:
    """Return expected impressions by day of the window, and impressions of the time before."""
    level = 2.5 * np.exp(1.2 * rng.standard_normal(users) - 0.72)
    days = np.empty((users, BEFORE_DAYS + WINDOW_DAYS + 1))
    days[:, 0] = rng.standard_normal(users)
    for day in range(1, days.shape[1]):
        days[:, day] = 0.8 * days[:, day - 1] + 0.6 * rng.standard_normal(users)
    expected = level[:, None] * np.exp(0.7 * days - 0.245)
    # Of the first and the last day the window has a part.
    into = entry % 1
    expected[:, BEFORE_DAYS] *= 1 - into
    expected[:, -1] *= into
    before = rng.poisson(expected[:, :BEFORE_DAYS].sum(axis=1))
    return expected[:, BEFORE_DAYS:], before


def looks(world: PlantedEffects, seed: int, days: range) -> Iterator[Report]:
    """Yield the report of the look at the end of each of these days."""
    experiment = experiment_of(world)
    whole = drawn(world, np.random.default_rng(seed))
    for day in days:
        now_ms = STARTED_MS + day * DAY_MS
        complete = whole.first_exposure_ms + WINDOW_DAYS * DAY_MS <= now_ms
        came = whole.first_exposure_ms < now_ms
        table = replace(whole, complete=complete).of(came)
        yield report_of("b", table, experiment, RECORD)


class ExperimentOutcome(NamedTuple):
    """What came of one experiment.

    Whether it was once called different by the interval by user, and got `ship` or `stop`, or
    `ship`; whether the last interval has the truth; whether the last look shows an effect, and
    warns; whether any look showed an effect.
    """

    different: bool
    decided: bool
    shipped: bool
    covered: bool
    shown: bool
    warned: bool
    ever_shown: bool


def outcome(world: PlantedEffects, seed: int, days: range = LOOKS) -> ExperimentOutcome:
    different = decided = shipped = ever = False
    for report in looks(world, seed, days):
        for arm in report.arms:
            primary, ever = arm.effects[0], True
            different |= primary.better or primary.worse
            decided |= arm.verdict in {"ship", "stop"}
            shipped |= arm.verdict == "ship"
    last, covered = report.arms, False
    if last:
        primary = last[0].effects[0]
        covered = bool(primary.lower[-1] <= world.truth <= primary.upper[-1])
    warned = any(check.state == "warning" for check in report.checks)
    return ExperimentOutcome(different, decided, shipped, covered, bool(last), warned, ever)


STEADY = (40.0, 160.0)
FAULTS = PlantedEffects(8_000, tester=True, early_days=30, two_arms=0.005, rates=STEADY)
MANY = PlantedEffects(12_000, rates=STEADY)
FEW = PlantedEffects(2_000, rates=STEADY)
AFTER = {
    "displacement of 5 %": PlantedEffects(effect=0.05, elsewhere=-0.05),
    "displacement of 10 %": PlantedEffects(effect=0.05, elsewhere=-0.1),
    "depth of +8 %": PlantedEffects(effect=0.05, depth=0.08),
}
# By group: how many experiments, which looks, and the worlds.
CASES: dict[str, tuple[int, range, dict[str, PlantedEffects]]] = {
    "equal": (
        300,
        LOOKS,
        {
            **{
                f"tester, {days} days early, .5 % in two arms, bot of {bot:.0%}": replace(
                    FAULTS, bot=bot, early_days=days
                )
                for bot, days in ((0.03, 30), (0.1, 1_100), (0.3, 30))
            },
            "5 % of users in two arms": replace(FAULTS, two_arms=0.05),
        },
    ),
    "lists": (
        200,
        LOOKS,
        {
            f"{noise:.0%} a day in {arms}, {world.arm_users:,} an arm": replace(
                world, noise=noise, noisy_arms=arms
            )
            for world in (FEW, MANY)
            for noise in (0.02, 0.05)
            for arms in (1, 2)
        },
    ),
    "moving": (
        200,
        LOOKS,
        {"early +6 %, late -1 %": replace(MANY, effect=0.06, late_effect=-0.01)},
    ),
    "planted": (200, LOOKS, {"+5 % at 20,000 an arm": PlantedEffects(20_000, effect=0.05)}),
    "after": (
        100,
        LOOKS[-1:],
        {
            f"{name}, {users:,} an arm": replace(world, arm_users=users)
            for users in (20_000, 63_000)
            for name, world in AFTER.items()
        },
    ),
}


def part(count: int, of: int) -> str:
    low, high = binomtest(count, of).proportion_ci(0.95)
    return f"{count} of {of} ({low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES, help="one group of cases")
    parser.add_argument("--runs", type=int, help="experiments a case, instead of 100 to 300")
    options = parser.parse_args()
    print(machine.describe())
    for group, (runs, days, worlds) in CASES.items():
        if options.only not in {None, group}:
            continue
        for name, world in worlds.items():
            start = time.process_time()
            found = [outcome(world, seed, days) for seed in range(options.runs or runs)]
            print(f"{group}: {name}, {time.process_time() - start:.0f} s of processor")
            for field, values in zip(
                ExperimentOutcome._fields, zip(*found, strict=True), strict=True
            ):
                print(f"  {field:<10} {part(sum(values), len(values))}", flush=True)


if __name__ == "__main__":
    main()
