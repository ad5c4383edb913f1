"""Changes of all arms in all objectives at one look, in intervals that hold together.

A change is a difference of two logarithms of values, by the delta method with the user as the unit.
The intervals reach as far as the largest of all standardised differences does in 95 % of draws of
their joint normal distribution (max-t), by Student's t where days make the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from feedmill.events.experiment import Experiment
from feedmill.experiments.anytime_intervals import Values
from feedmill.experiments.effects import (
    DayNoise,
    Flags,
    Moments,
    columns_of,
    day_noise,
    moments_by_look,
    solve,
)
from feedmill.experiments.plan import BETA, Baseline
from feedmill.experiments.report import MIN_DAYS
from feedmill.experiments.table import UserTable

ALPHA = 0.05
_DRAWS, _SEED = 20_000, 55
_NO_DAYS = DayNoise(0.0, math.inf, 0.0)


@dataclass(frozen=True)
class Changes:
    """The changes of arms against the control in each objective, in logarithms: (arms, objectives).

    Attributes
    ----------
    estimates, reach
        The changes, and how far their intervals reach; NaN where nothing was counted.
    covariance
        Of all changes, arm by arm: (arms x objectives, arms x objectives).
    critical
        How many errors the intervals reach, with days beyond number.
    freedom
        How many degrees of freedom the days leave each change, infinity without days.
    alike
        The correlation of lists of one day and the next, in the first objective, the arms' mean.
    """

    estimates: Values
    reach: Values
    covariance: Values
    critical: float
    freedom: Values
    alike: float = 0.0

    @property
    def lower(self) -> Values:
        return self.estimates - self.reach

    @property
    def upper(self) -> Values:
        return self.estimates + self.reach


def objectives_of(experiment: Experiment) -> tuple[str, ...]:
    """Return the metrics that tune looks at: the primary one, guardrails, and those it defines."""
    return tuple(dict.fromkeys((experiment.primary, *experiment.guardrails, *experiment.metrics)))


def signs_of(experiment: Experiment) -> Values:
    """Return by objective 1 where more is better, else -1."""
    better = [experiment.all_metrics[name].better for name in objectives_of(experiment)]
    return np.array([1.0 if one == "more" else -1.0 for one in better])


def levels(arms: Moments, widths: Sequence[int]) -> tuple[Values, Values]:
    """Return the logarithms of arms' values (arms, objectives), and their covariances by arm.

    `arms` has for each objective so many columns as `widths` says: numerator, denominator, and
    covariates, which take away what they explain of all arms' errors together.
    """
    count, total = len(arms.users), sum(widths)
    gradients = np.zeros((count, len(widths), total))
    values = np.zeros((count, len(widths)))
    shares = 1 / np.maximum(arms.users, 1.0)
    at = 0
    for place, width in enumerate(widths):
        above, below = arms.means[:, at], arms.means[:, at + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            values[:, place] = np.log(above / below)
            own = np.stack([1 / above, -1 / below], axis=-1)
        covariates = slice(at + 2, at + width)
        if width > 2:
            spread = np.einsum("a,aij->ij", shares, arms.covariances[:, covariates, covariates])
            pair = arms.covariances[:, at : at + 2, covariates]
            slopes = solve(spread, np.einsum("a,ai,aij->j", shares, own, pair))
            values[:, place] -= arms.means[:, covariates] @ slopes
            gradients[:, place, covariates] = -slopes
        gradients[:, place, at : at + 2] = own
        at += width
    covariances = np.einsum("ami,aij,anj,a->amn", gradients, arms.covariances, gradients, shares)
    return np.where(np.isfinite(values), values, np.nan), covariances


def changes_of(
    values: Values,
    covariances: Values,
    noise: Values | float = 0.0,
    freedom: Values | float = np.inf,
) -> Changes:
    """Return the changes of all arms but the first, the control.

    `noise` is what days add to the variance of each change, with so many degrees of `freedom`.
    """
    arms, objectives = values.shape
    estimates = values[1:] - values[0]
    whole = np.tile(covariances[0], (arms - 1, arms - 1))
    for arm in range(arms - 1):
        place = slice(arm * objectives, (arm + 1) * objectives)
        whole[place, place] += covariances[arm + 1]
    known = np.isfinite(estimates).ravel() & (np.diag(whole) > 0)
    whole[~known] = whole[:, ~known] = 0.0
    by_user = np.sqrt(np.diag(whole))
    errors = np.sqrt(by_user**2 + np.broadcast_to(noise, estimates.shape).ravel())
    stretch = np.divide(errors, by_user, out=np.zeros_like(errors), where=known)
    whole = whole * stretch[:, None] * stretch
    drawn = _draws(whole)[:, known] / errors[known] if known.any() else np.zeros((1, 1))
    critical = float(np.quantile(np.abs(drawn).max(axis=1), 1 - ALPHA))
    with np.errstate(invalid="ignore"):
        reach = student.isf(norm.sf(critical), freedom) * errors.reshape(estimates.shape)
    reach = np.where(known.reshape(estimates.shape), reach, np.nan)
    return Changes(estimates, reach, whole, critical, np.broadcast_to(freedom, estimates.shape))


def _draws(covariance: Values) -> Values:
    """Return draws of a normal distribution around 0, the same ones each time."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(_standard(len(covariance)) @ root.T)


@cache
def _standard(width: int) -> Values:
    return np.random.default_rng(_SEED).standard_normal((_DRAWS, width))


def on_front(changes: Changes, signs: Values) -> Values:
    """Return in which share of draws no other arm is as good as each in every objective: (arms,).

    The control is the first of these arms.  Objectives in which something is unknown do not count.
    """
    known = np.isfinite(changes.reach).all(axis=0)
    arms, objectives = changes.estimates.shape
    drawn = _draws(changes.covariance).reshape(-1, arms, objectives) + changes.estimates
    drawn = np.concatenate([np.zeros_like(drawn[:, :1]), drawn], axis=1)[..., known] * signs[known]
    beaten = np.zeros(drawn.shape[:2], dtype=np.bool_)
    for arm in range(arms + 1):
        for other in range(arms + 1):
            if other != arm:
                beaten[:, arm] |= (drawn[:, other] > drawn[:, arm]).all(axis=1)
    return np.asarray(1 - beaten.mean(axis=0)) if known.any() else np.ones(arms + 1)


def off_front(changes: Changes, signs: Values) -> Flags:
    """Return which arms another arm is shown to beat in every objective: (arms,), control first.

    What is shown is outside the intervals of the differences of all pairs of arms in all
    objectives, which hold together in 95 % of experiments.  Objectives in which something is
    unknown do not count.
    """
    known = np.isfinite(changes.reach).all(axis=0)
    arms, objectives = changes.estimates.shape
    off = np.zeros(arms + 1, dtype=np.bool_)
    if not known.any():
        return off

    def with_control(values: Values, control: float) -> Values:
        first = np.full_like(values[..., :1, :], control)
        return np.concatenate([first, values], axis=-2)[..., known]

    drawn = with_control(_draws(changes.covariance).reshape(-1, arms, objectives), 0.0)
    gains = with_control(changes.estimates * signs, 0.0)
    freedom = with_control(changes.freedom, np.inf)
    pairs = np.array([*combinations(range(arms + 1), 2)])
    away = drawn[:, pairs[:, 0]] - drawn[:, pairs[:, 1]]
    errors = away.std(axis=0)
    critical = float(np.quantile((np.abs(away) / errors).max(axis=(1, 2)), 1 - ALPHA))
    reach = student.isf(norm.sf(critical), freedom[pairs].min(axis=1)) * errors
    for (one, other), reached in zip(pairs, reach, strict=True):
        off[other] |= (gains[one] - gains[other] > reached).all()
        off[one] |= (gains[other] - gains[one] > reached).all()
    return off


def changes_in(
    table: UserTable, experiment: Experiment, arms: Sequence[str]
) -> tuple[Changes, int]:
    """Return the changes of these arms, the control first, and the users of the smallest.

    Users count whose windows are complete.
    """
    names, shares = objectives_of(experiment), list(experiment.shares)
    wanted = [shares.index(arm) for arm in arms]
    users = table.of(table.complete & np.isin(table.arm, wanted))
    users = replace(users, arm=np.searchsorted(np.sort(wanted), users.arm))
    metrics = experiment.all_metrics
    columns = {name: columns_of(users, name, metrics[name]) for name in names}
    widths = [one.shape[1] for one in columns.values()]
    every = moments_by_look(
        np.concatenate([*columns.values()], axis=1), users.arm, np.zeros_like(users.arm)
    )
    moments = Moments(every.users[:, 0], every.means[:, 0], every.covariances[:, 0])
    values, covariances = levels(moments, widths)
    first = np.cumsum([0, *widths[:-1]])
    plain = moments.means[:, first] / moments.means[:, first + 1]
    noise, freedom, alike = np.zeros((3, len(arms) - 1, len(names)))
    for place, name in enumerate(names):
        for arm in range(1, len(arms)):
            found = _of_days(
                *(users, name, columns[name], plain[:, place], arm),
                float(covariances[arm, place, place] + covariances[0, place, place]),
            )
            noise[arm - 1, place], freedom[arm - 1, place] = found.variance, found.freedom
            alike[arm - 1, place] = found.alike
    changes = changes_of(values, covariances, noise, freedom)
    alike_by_day = float(alike[:, 0].mean())
    return replace(changes, alike=alike_by_day), int(moments.users.min())


def _of_days(
    users: UserTable, name: str, columns: Values, values: Values, arm: int, by_user: float
) -> DayNoise:
    """Return what days add to the variance of an arm's change."""
    sums, shown = users.sums_by_day.get(name), users.day_impressions
    if sums is None or shown is None or not (values[[0, arm]] > 0).all():
        return _NO_DAYS
    pair = np.isin(users.arm, (0, arm))
    ratio = values[users.arm[pair], None]
    by_day = [
        columns[pair][:, [one]]
        * days[pair]
        / np.maximum(days[pair].sum(axis=1, keepdims=True), 1e-9)
        for one, days in enumerate((sums, shown))
    ]
    return day_noise(users.of(pair), by_day[0] / ratio, by_day[1], by_user) or _NO_DAYS


def planned_users(
    experiment: Experiment,
    baselines: Mapping[str, Baseline],
    *,
    effect: float,
    list_noise: float,
) -> dict[str, int]:
    """Return by metric how many users an arm one look takes to show a gain, or a margin.

    All together show what they are to show with a probability of 80 %.
    """
    arms, names = len(experiment.treatments), objectives_of(experiment)
    # Changes of arms share the control; objectives are taken to differ, which takes most users.
    pairs: Values = np.full((arms, arms), 0.5) + 0.5 * np.eye(arms)
    shared = np.asarray(np.kron(pairs, np.eye(len(names))), dtype=np.float64)
    critical = float(np.quantile(np.abs(_draws(shared)).max(axis=1), 1 - ALPHA))
    miss = BETA / (len(experiment.guardrails) + 1)
    found = {}
    for name, change in {experiment.primary: effect, **experiment.guardrails}.items():
        metric, base = experiment.all_metrics[name], baselines[name]
        relative = base.deviation / abs(base.value)
        if metric.per == "reader":
            relative = math.sqrt((1 - base.value) / base.value)
        is_loss = (metric.better == "more") == (name in experiment.guardrails)
        error = abs(math.log(1 - change if is_loss else 1 + change)) / (critical + norm.isf(miss))
        left = error**2 - (list_noise**2 * 2 / MIN_DAYS if name == experiment.primary else 0.0)
        found[name] = math.ceil(2 * relative**2 / left) if left > 0 else 10**10
    return found
