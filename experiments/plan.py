"""How many users an experiment takes, and which margins so many can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from feedmill.events.experiment import Experiment
from feedmill.events.metric import Metric
from feedmill.experiments.anytime_intervals import Values, bet_log_e, radius
from feedmill.experiments.effects import alpha_of, columns_of, contrast, moments_by_look, share_of
from feedmill.experiments.report import MIN_DAYS
from feedmill.experiments.table import UserTable

# With which probability an effect or a margin may be missed, all metrics together.
BETA = 0.2
# Lists of usual arms differ by .2 to .5 % a day by chance, those of bold ones by 2 %.
LIST_NOISE = 0.003
# Once a day for four weeks and more; more looks change the power by less than a hundredth.
_LOOKS = 28
_STEP = 0.01
_MOST_USERS = 1e10


@dataclass(frozen=True)
class Baseline:
    """A metric without the experiment: its value, and a user's deviation from it.

    `deviation` is that of (numerator - value x denominator) / mean denominator over users, less
    what covariates explain; of a metric per reader it is not used.
    """

    value: float
    deviation: float


@dataclass(frozen=True)
class Size:
    """What one metric takes.

    Attributes
    ----------
    metric, role
        Which, primary or guardrail.
    value
        Without the experiment.
    change
        The relative change, or the margin, that is to be shown.
    users
        How many users an arm it takes; infinity for more than there are.
    least_change
        The least change, or margin, that the planned n shows.
    """

    metric: str
    role: str
    value: float
    change: float
    users: float
    least_change: float


@dataclass(frozen=True)
class Plan:
    """The sizes of all metrics, and how long it takes.

    Attributes
    ----------
    planned_n
        Users an arm, of the smallest arm, as the setting says.
    miss
        With which probability each metric may miss what it is to show.
    days
        Whole weeks until the planned n have come and their windows are over; None if nobody says
        how many come.
    """

    planned_n: int
    miss: float
    sizes: tuple[Size, ...]
    days: int | None

    @property
    def too_small(self) -> tuple[Size, ...]:
        """The metrics that the planned n does not show."""
        return tuple(size for size in self.sizes if size.users > self.planned_n)


def baselines_of(table: UserTable, experiment: Experiment) -> dict[str, Baseline]:
    """Return the baselines of a table of users of one period without the experiment."""
    found = {}
    for name in (experiment.primary, *experiment.guardrails):
        metric = experiment.all_metrics[name]
        columns = columns_of(table, name, metric)
        moments = moments_by_look(columns, table.arm, np.zeros(len(table.arm), dtype=np.int64))
        same = contrast(moments, moments)
        users = float(moments.users[0, 0])
        found[name] = Baseline(
            float(same.control[0, 0]),
            float(same.standard_error[0, 0]) * math.sqrt(users / 2),
        )
    return found


def plan_of(
    experiment: Experiment,
    baselines: Mapping[str, Baseline],
    *,
    effect: float,
    users_a_day: float | None = None,
    list_noise: float = LIST_NOISE,
) -> Plan:
    """Size the primary metric for a relative `effect`, and every guardrail for its margin.

    `list_noise` is by which part the lists of a day are better or worse by chance than those of
    others: no number of users takes that away, days do.

    Every metric may miss with the probability BETA / (guardrails + 1), so that all together show
    what they are to show with the probability 1 - BETA.
    """
    miss = BETA / (len(experiment.guardrails) + 1)
    changes = {experiment.primary: effect, **experiment.guardrails}
    entry: float = MIN_DAYS
    if users_a_day is not None:
        least = min(experiment.shares.values())
        come = experiment.planned_n * sum(experiment.shares.values()) / least / users_a_day
        entry = max(come, MIN_DAYS)
    over = math.ceil(entry) + math.ceil(experiment.window_hours / 24)
    days = None if users_a_day is None else math.ceil(over / 7) * 7
    noise = {experiment.primary: list_noise * math.sqrt(2 / entry)}
    sizes = tuple(
        _size(experiment, name, baselines[name], change, (miss, noise.get(name, 0.0)))
        for name, change in changes.items()
    )
    return Plan(experiment.planned_n, miss, sizes, days)


def _size(
    experiment: Experiment, name: str, baseline: Baseline, change: float, odds: tuple[float, float]
) -> Size:
    """Size one metric; `odds` are how often it may miss, and the error that lists add."""
    metric = experiment.all_metrics[name]
    role = "primary" if name == experiment.primary else "guardrail"
    users = max(
        _users(experiment, metric, arm.name, baseline, (role, change, *odds))
        for arm in experiment.treatments
    )

    def is_shown(least: float) -> float:
        needed = max(
            _users(experiment, metric, arm.name, baseline, (role, least, *odds))
            for arm in experiment.treatments
        )
        return math.log(min(needed, _MOST_USERS) / experiment.planned_n)

    least = _root(is_shown, 1e-4, 0.99 if role == "guardrail" else 10.0)
    return Size(name, role, baseline.value, change, users, least)


def _users(
    experiment: Experiment,
    metric: Metric,
    arm: str,
    baseline: Baseline,
    wanted: tuple[str, float, float, float],
) -> float:
    """Return how many users of the smallest arm it takes; `wanted` is role, change and the odds."""
    role, change, miss, noise = wanted
    shares, alpha = experiment.shares, alpha_of(experiment)
    least = min(shares.values())
    control, treated = shares[experiment.control.name] / least, shares[arm] / least
    if metric.per == "reader":
        share = share_of(experiment, arm)

        def power(log_users: float) -> float:
            rates = baseline.value * math.exp(log_users) * np.array([control, treated])
            return _bet_power(rates, share, change, alpha) - (1 - miss)

        return math.exp(_root(power, 0.0, math.log(_MOST_USERS)))
    away = change * abs(baseline.value)
    if not away:
        return math.inf
    if role == "primary":
        spread, drift = 1 / control + 1 / treated, drift_for(alpha, 1 - miss, 2)
    else:
        sign = 1 if metric.better == "more" else -1
        spread = (1 - sign * change) ** 2 / control + 1 / treated
        drift = drift_for(alpha, 1 - miss, 1)
    left = (away / drift) ** 2 - (noise * baseline.value) ** 2
    return spread * baseline.deviation**2 / left if left > 0 else math.inf


@cache
def drift_for(alpha: float, power: float, sides: int) -> float:
    """Return the effect, in standard errors at the planned n, that is found with this power."""
    return float(brentq(lambda drift: _power(drift, alpha, sides) - power, 0.5, 20, xtol=1e-4))


def _power(drift: float, alpha: float, sides: int) -> float:
    """Return the chance that the sequence is above 0 at some look up to the planned n.

    The estimate times the users is a random walk; its density below the bound is carried from look
    to look (Armitage, McPherson and Rowe 1969).
    """
    time = np.arange(1, _LOOKS + 1) / _LOOKS
    bounds = radius(np.sqrt(time), time, tuned=1.0, alpha=alpha, sides=sides)
    walk = np.arange(-8.0, drift + 8.0, _STEP)
    kernel_at = np.arange(-200, 201) * _STEP
    deviation = math.sqrt(1 / _LOOKS)
    kernel = norm.pdf(kernel_at, drift / _LOOKS, deviation) * _STEP
    density = norm.pdf(walk, drift / _LOOKS, deviation)
    density[walk >= bounds[0]] = 0.0
    for bound in bounds[1:]:
        density = np.convolve(density, kernel, mode="same")
        density[walk >= bound] = 0.0
    return 1.0 - float(density.sum()) * _STEP


def _bet_power(rates: Values, share: float, margin: float, alpha: float) -> float:
    """Return the chance that the bets show no harm, where arms have so many events by then.

    The bets' logarithm is taken for a Brownian motion, which reaches a level by a known law.
    """
    gains = np.array(
        [
            float(bet_log_e(*one, share=share, null=1 + margin, bet=1.0))
            for one in ((1.0, 0.0), (0.0, 1.0))
        ]
    )
    mean, deviation = float(rates @ gains), math.sqrt(float(rates @ gains**2))
    needed = -math.log(alpha)
    reached = norm.cdf((mean - needed) / deviation)
    mirrored = 2 * mean * needed / deviation**2 + norm.logcdf((-mean - needed) / deviation)
    return float(reached + math.exp(mirrored))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where a monotone function is 0: an end of the range if it is beyond."""
    ends = rising(low), rising(high)
    if (ends[0] > 0) == (ends[1] > 0):
        return low if abs(ends[0]) < abs(ends[1]) else high
    return float(brentq(rising, low, high, xtol=1e-6))
