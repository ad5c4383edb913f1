"""What an arm does to a metric: at the end of each day so far, and over other lists of posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from feedmill.events.experiment import Experiment
from feedmill.events.metric import Metric
from feedmill.experiments.anytime_intervals import Values, harm_bounds, harm_log_e, radius
from feedmill.experiments.table import UserTable

# The sequence is asymptotic: below so many users of an arm it is not looked at.
MIN_USERS = 1_000
ALPHA = 0.05
# The quantile that caps what a user adds, unless the setting has a cap.
CAPPED = 0.999
# Correlations of lists of one day and the next that are tried.
_ALIKE = np.arange(10) / 10
# A correlation widens intervals where days vary so many standard errors more than users explain.
_BEYOND_CHANCE = 1.0
Flags = NDArray[np.bool_]
# A difference and the bounds of its interval.
Bounds = tuple[float, float, float]


@dataclass(frozen=True)
class Moments:
    """Of a group of users, or of many such groups at once.

    Attributes
    ----------
    users
        (…): how many.
    means
        (…, columns): the numerator, the denominator, and the covariates, which a user brings.
    covariances
        (…, columns, columns).
    """

    users: Values
    means: Values
    covariances: Values

    @classmethod
    def of_sums(cls, users: Values, sums: Values, products: Values) -> Moments:
        """Return the moments of sums (…, columns) and sums of products (…, columns, columns)."""
        n = np.maximum(users, 1.0)
        means = sums / n[..., None]
        spread = products - n[..., None, None] * means[..., :, None] * means[..., None, :]
        return cls(users, means, spread / np.maximum(n - 1, 1.0)[..., None, None])


@dataclass(frozen=True)
class Contrast:
    """The difference of a metric between two arms, `treated` less `factor` times `control`.

    All are (…): `estimate` with its `standard_error`, of so many `users` of both arms.  `control`
    and `treated` are the arms' own values, without covariates.
    """

    estimate: Values
    standard_error: Values
    users: Values
    control: Values
    treated: Values


def contrast(
    control: Moments, treated: Moments, *, factor: float = 1.0, adjusted: bool = True
) -> Contrast:
    """Return the difference of two ratios of means, by the delta method with the user as the unit.

    Each user adds (numerator - ratio x denominator) / mean denominator.  With `adjusted`, what
    covariates from before the exposure explain of it is taken away (CUPED, Deng et al. 2013), by
    the one linear combination that makes the difference's variance least.
    """
    values, gradients = zip(*(_ratio(arm) for arm in (control, treated)), strict=True)
    gradients = (factor * gradients[0], gradients[1])
    shares = [1 / np.maximum(arm.users, 1.0)[..., None, None] for arm in (control, treated)]
    spread = control.covariances * shares[0] + treated.covariances * shares[1]
    crossed = sum(
        np.einsum("...i,...ij->...j", gradient, arm.covariances[..., :2, 2:] * share)
        for gradient, arm, share in zip(gradients, (control, treated), shares, strict=True)
    )
    slopes = solve(spread[..., 2:, 2:], np.asarray(crossed)) if adjusted else 0.0 * crossed
    variance = np.zeros(control.users.shape)
    for gradient, arm in zip(gradients, (control, treated), strict=True):
        whole = np.concatenate([gradient, -slopes], axis=-1)
        own = np.einsum("...i,...ij,...j->...", whole, arm.covariances, whole)
        variance = variance + own / np.maximum(arm.users, 1.0)
    moved = ((treated.means - control.means)[..., 2:] * slopes).sum(axis=-1)
    return Contrast(
        values[1] - factor * values[0] - moved,
        np.sqrt(np.maximum(variance, 0.0)),
        control.users + treated.users,
        *values,
    )


def _ratio(arm: Moments) -> tuple[Values, Values]:
    """Return the ratio (…) and its gradient by numerator and denominator (…, 2)."""
    below = arm.means[..., 1]
    below = np.where(below == 0, np.nan, below)
    value = arm.means[..., 0] / below
    return value, np.stack([1 / below, -value / below], axis=-1)


def solve(spread: Values, crossed: Values) -> Values:
    """Return the slopes (…, covariates); a covariate that does not vary gets 0."""
    deviations = np.sqrt(np.maximum(np.einsum("...ii->...i", spread), 0.0))
    scale = np.where(deviations > 0, 1 / np.where(deviations > 0, deviations, 1.0), 0.0)
    unit = spread * scale[..., :, None] * scale[..., None, :]
    # Covariates that say nearly the same need not be told apart.
    unit = unit + 1e-9 * np.eye(spread.shape[-1])
    solved = np.linalg.solve(unit, np.nan_to_num(crossed * scale)[..., None])[..., 0]
    return np.asarray(solved * scale)


@dataclass(frozen=True)
class Effect:
    """The difference between an arm and the control in one metric.

    Attributes
    ----------
    metric, arm, role
        Which; the role is primary, guardrail or exploratory.
    control, treated
        The arms' values.
    users, estimates, lower, upper
        (looks,): users of both arms, the difference, and the bounds of that look; they are infinite
        where an arm has too few users, or no impressions.
    standard_error
        By user, at the last look; NaN where bets give the bounds.
    saved
        Which part of the variance the covariates took away.
    better, worse
        Whether the last look is above, or below, no difference; for a rare harm `worse` is whether
        its bets say so.
    first_look
        The first look that was; -1: none.
    changed
        Whether no difference is within the bounds of all looks: the difference moved over time.
    not_inferior, stops, beyond_margin
        For a guardrail whether it is shown not to be worse by the margin, whether it is so bad that
        the arm stops, and whether the whole interval is beyond the margin.
    """

    metric: str
    arm: str
    role: str
    control: float
    treated: float
    users: Values
    estimates: Values
    lower: Values
    upper: Values
    standard_error: float
    saved: float
    better: bool
    worse: bool
    first_look: int
    changed: bool
    not_inferior: bool | None = None
    stops: bool = False
    beyond_margin: bool = False

    @property
    def runs_high(self) -> float:
        """Of estimates that bounds like these show, the mean over an effect as large as this one's.

        1 where the bounds contain no difference, or come from bets.
        """
        if not (self.better or self.worse) or np.isnan(self.standard_error):
            return 1.0
        seen = abs(self.estimates[-1]) / self.standard_error
        beyond = seen - (self.upper[-1] - self.lower[-1]) / 2 / self.standard_error
        return float(1 + np.exp(norm.logpdf(beyond) - norm.logcdf(beyond)) / seen)


def columns_of(table: UserTable, name: str, metric: Metric) -> Values:
    """Return what users bring to a metric: (users, 2), or 5 with the period before.

    Numerator and denominator, capped; of before the same, 0 where missing, and whether missing.
    """
    whole = table.complete
    own = capped(table.sums[name], table.impressions, metric, whole)
    before = table.sums_before.get(name)
    if before is None or table.impressions_before is None:
        return np.stack(own, axis=1)
    missing = np.isnan(before) | np.isnan(table.impressions_before)
    known = [np.where(missing, 0.0, values) for values in (before, table.impressions_before)]
    sums, below = capped(known[0], known[1], metric, whole & ~missing)
    return np.stack([*own, sums, np.where(missing, 0.0, below), missing], axis=1)


def capped(
    sums: Values, impressions: Values, metric: Metric, users: Flags
) -> tuple[Values, Values]:
    """Return the numerator and denominator that users bring to a metric."""
    if metric.per == "reader":
        return (sums > 0).astype(np.float64), np.ones(len(sums))
    if metric.per == "impression":
        most = metric.cap or usual_cap(impressions, users)
        kept = np.minimum(1.0, most / np.maximum(impressions, 1.0))
        sums, impressions = sums * kept, impressions * kept
        return np.minimum(sums, np.inf if metric.cap else usual_cap(sums, users)), impressions
    return np.minimum(sums, metric.cap or usual_cap(sums, users)), np.ones(len(sums))


def usual_cap(values: Values, users: Flags) -> float:
    """Return the 99.9th percentile of these users: who does more counts as if doing so much."""
    most = float(np.quantile(values[users], CAPPED, method="lower")) if users.any() else 0.0
    return most or np.inf


def moments_by_look(columns: Values, arm: NDArray[np.int64], days: NDArray[np.int64]) -> Moments:
    """Return the moments (arms, looks) of all users whose window is over by the end of each day.

    `days` is -1 for users that do not count.
    """
    counted = days >= 0
    columns, arm, days = columns[counted], arm[counted], days[counted]
    arms, looks, width = int(arm.max(initial=0)) + 1, int(days.max(initial=0)) + 1, columns.shape[1]
    cell = arm * looks + days
    centre = columns.mean(axis=0) if len(columns) else np.zeros(width)
    away = columns - centre

    def summed(values: Values | None) -> Values:
        one = np.bincount(cell, values, minlength=arms * looks).astype(np.float64)
        return np.asarray(one.reshape(arms, looks).cumsum(axis=1))

    products = np.empty((arms, looks, width, width))
    for i in range(width):
        for j in range(i + 1):
            products[..., i, j] = products[..., j, i] = summed(away[:, i] * away[:, j])
    sums = np.stack([summed(away[:, i]) for i in range(width)], axis=-1)
    found = Moments.of_sums(summed(None), sums, products)
    return Moments(found.users, found.means + centre, found.covariances)


def arm_moments(moments: Moments, arm: int) -> Moments:
    """Return the moments (looks,) of one arm."""
    return Moments(moments.users[arm], moments.means[arm], moments.covariances[arm])


def effect_of(
    table: UserTable,
    experiment: Experiment,
    name: str,
    arm: str,
    *,
    users: Flags | None = None,
) -> Effect:
    """Return the effect of an arm on a metric, on these users or all whose windows are over."""
    metric = experiment.all_metrics[name]
    days = table.look_days(experiment.window_hours)
    if users is not None:
        days = np.where(users, days, -1)
    places = {name: place for place, name in enumerate(experiment.shares)}
    pair = np.isin(table.arm, (0, places[arm]))
    moments = moments_by_look(
        columns_of(table, name, metric), (table.arm > 0).astype(np.int64), np.where(pair, days, -1)
    )
    if len(moments.users) < 2:
        raise ValueError(f"no users of the arm {arm!r}")
    arms = arm_moments(moments, 0), arm_moments(moments, 1)
    margin, is_rare = experiment.guardrails.get(name), metric.per == "reader"
    found, saved = (_rare if is_rare else _sequence)(*arms, experiment, arm, name)
    with np.errstate(invalid="ignore"):
        values = [float(one.means[-1, 0] / one.means[-1, 1]) for one in arms]
    crossed = np.flatnonzero(found.better | found.worse)
    nearest = found.upper[-1] if metric.better == "more" else -found.lower[-1]
    beyond = margin is not None and bool(nearest < -margin * abs(values[0]))
    # A harm within its margin is what the margin allows, once that is shown.
    harmed = margin is not None and is_rare and bool(found.worse[-1] and not found.spared[-1])
    return Effect(
        metric=name,
        arm=arm,
        role=role_of(experiment, name),
        control=values[0],
        treated=values[1],
        users=arms[0].users + arms[1].users,
        estimates=found.estimates,
        lower=found.lower,
        upper=found.upper,
        standard_error=float(found.errors[-1]),
        saved=saved,
        better=bool(found.better[-1]),
        worse=bool(found.worse[-1]),
        first_look=int(crossed[0]) if len(crossed) else -1,
        changed=bool(found.lower.max() > found.upper.min()),
        not_inferior=None if margin is None else bool(found.spared[-1]),
        stops=beyond or harmed,
        beyond_margin=beyond,
    )


@dataclass(frozen=True)
class _Looks:
    """What each look found, all (looks,): `spared` is not worse by the margin."""

    estimates: Values
    errors: Values
    lower: Values
    upper: Values
    better: Flags
    worse: Flags
    spared: Flags


def role_of(experiment: Experiment, name: str) -> str:
    """Return what a metric is in an experiment."""
    if name == experiment.primary:
        return "primary"
    return "guardrail" if name in experiment.guardrails else "exploratory"


def alpha_of(experiment: Experiment) -> float:
    """Return the error that each arm's comparison may have."""
    return ALPHA / len(experiment.treatments)


def tuned_at(experiment: Experiment, arm: str) -> float:
    """Return after how many users of both arms a sequence is tightest, as planned."""
    shares = experiment.shares
    least = min(shares.values())
    return experiment.planned_n * (shares[experiment.control.name] + shares[arm]) / least


def share_of(experiment: Experiment, arm: str) -> float:
    """Return the configured share of an arm among its users and the control's."""
    shares = experiment.shares
    return shares[arm] / (shares[arm] + shares[experiment.control.name])


def _sequence(
    control: Moments, treated: Moments, experiment: Experiment, arm: str, name: str
) -> tuple[_Looks, float]:
    """Return the looks of a confidence sequence, and which part of the variance was saved."""
    alpha, tuned = alpha_of(experiment), tuned_at(experiment, arm)
    sign = 1 if experiment.all_metrics[name].better == "more" else -1
    early = np.minimum(control.users, treated.users) < MIN_USERS

    def reached(found: Contrast, sides: int) -> Values:
        reach = radius(found.standard_error, found.users, tuned=tuned, alpha=alpha, sides=sides)
        return np.where(early | np.isnan(reach), np.inf, reach)

    found, plain = contrast(control, treated), contrast(control, treated, adjusted=False)
    reach = reached(found, 2)
    spared = np.zeros(len(reach), dtype=np.bool_)
    margin = experiment.guardrails.get(name)
    if margin is not None:
        moved = contrast(control, treated, factor=1 - sign * margin)
        spared = sign * moved.estimate > reached(moved, 1)
    saved = 0.0
    if plain.standard_error[-1]:
        saved = float(1 - (found.standard_error[-1] / plain.standard_error[-1]) ** 2)
    better, worse = sign * found.estimate > reach, sign * found.estimate < -reach
    middle = np.nan_to_num(found.estimate)
    bounds = middle - reach, middle + reach
    errors = found.standard_error
    return _Looks(found.estimate, errors, *bounds, better, worse, spared), saved


def _rare(
    control: Moments, treated: Moments, experiment: Experiment, arm: str, name: str
) -> tuple[_Looks, float]:
    """Return the looks of the bets on a harm; they use no covariates."""
    events = [np.rint(moments.users * moments.means[..., 0]) for moments in (control, treated)]
    alpha, share = alpha_of(experiment), share_of(experiment, arm)
    rate, other = control.means[..., 0], treated.means[..., 0]
    low, high = harm_bounds(events[0], events[1], share, alpha)
    harmed = harm_log_e(events[0], events[1], share) >= -np.log(alpha)
    spared = high <= 1 + experiment.guardrails.get(name, 0.0)
    open_above = np.isinf(high)
    upper = np.where(open_above, np.inf, rate * (np.where(open_above, 1.0, high) - 1))
    never, bounds = np.zeros_like(harmed), (rate * (low - 1), upper)
    return _Looks(other - rate, rate * np.nan, *bounds, never, harmed, spared), 0.0


def segments(table: UserTable) -> Sequence[tuple[str, Flags]]:
    """Return new and returning readers, by whether they were seen before their exposure."""
    if table.impressions_before is None:
        return ()
    new = ~(table.impressions_before > 0)
    return (("new readers", new), ("returning readers", ~new))


class OtherLists(NamedTuple):
    """The primary difference with its bounds over users and days.

    `alike` is the correlation of lists of one day and the next, 0 to .9.
    """

    difference: float
    lower: float
    upper: float
    alike: float


def other_lists(table: UserTable, experiment: Experiment, effect: Effect) -> OtherLists | None:
    """Return the primary difference with its bounds over users and days, as of the last look.

    All users of an arm see the same lists, so an interval by user is for these lists alone.  Each
    day has lists of its own: what the difference varies by day of the impression, beyond what users
    explain that have it, adds to its variance (Cameron, Gelbach and Miller, "Robust inference with
    multiway clustering", 2011), and more so where lists stay good or bad for days.  A copy of the
    control has the control's lists, and cannot show this noise.

    The bounds reach so many errors as those of the sequence, by Student's t with as many degrees of
    freedom as the days leave.  None for fewer than two days, and where the effect has no bounds.
    """
    place = list(experiment.shares).index(effect.arm)
    users = table.of(table.complete & np.isin(table.arm, (0, place)))
    estimate, reach = effect.estimates[-1], effect.upper[-1] - effect.estimates[-1]
    if users.day_impressions is None or users.day_sums is None or not 0 < reach < np.inf:
        return None
    columns = columns_of(users, experiment.primary, experiment.all_metrics[experiment.primary])
    sums, below = (
        columns[:, [column]] * days / np.maximum(days.sum(axis=1, keepdims=True), 1e-9)
        for column, days in enumerate((users.day_sums, users.day_impressions))
    )
    by_user = float(effect.standard_error)
    found = day_noise(users, sums, below, by_user**2)
    if found is None:
        return None
    whole = np.sqrt(by_user**2 + found.variance)
    reach = student.isf(norm.sf(reach / by_user), found.freedom) * whole
    return OtherLists(
        float(estimate), float(estimate - reach), float(estimate + reach), found.alike
    )


@dataclass(frozen=True)
class DayNoise:
    """What lists that differ by day add to the variance of a difference.

    Attributes
    ----------
    variance
        To add to the variance by user.
    freedom
        The degrees of freedom that the days leave the sum of both.
    alike
        The correlation of lists of one day and the next, 0 to .9.
    """

    variance: float
    freedom: float
    alike: float


def day_noise(users: UserTable, sums: Values, below: Values, by_user: float) -> DayNoise | None:
    """Return what days add to the variance `by_user` of a difference, None for fewer than two days.

    `sums` and `below` are what users add to numerator and denominator: (users, days of the window).

    Lists follow an autoregression of the first order.  The correlation is the one at which the
    products of neighbouring days are as large beside the squares of days as so few days show, both
    beyond what users explain.  A few days show less than there is, since their mean is taken away.
    The variance has the correlation where days vary by more than chance.
    """
    days, between, by_users, weights = days_of(users, sums, below)
    if np.count_nonzero(weights) < 2:
        return None
    apart = np.abs(np.subtract.outer(days, days))
    # The difference itself is taken away from each day by its weight.
    centre = np.eye(len(days)) - weights[:, None]
    explained = centre @ by_users @ centre.T
    lists = np.outer(weights, weights) * _ALIKE[:, None, None] ** apart
    shown = centre @ lists @ centre.T
    beyond = np.outer(between, between) - explained
    varies, follows = shown.trace(axis1=1, axis2=2), shown[:, apart == 1].sum(axis=1)
    own, shared = max(float(beyond.trace()), 0.0), float(beyond[apart == 1].sum())
    alike = int(np.argmin(np.abs(follows / varies - shared / own))) if own else 0
    # Days that vary no more than by chance tell little of what lasts.
    best = alike if own > _BEYOND_CHANCE * np.sqrt(2 * (explained**2).sum()) else 0
    scale = lists[best].sum() / varies[best]
    variance = own * scale
    # As many as a chi-squared has of the same relative variance (Satterthwaite).
    drawn = explained + own / varies[best] * shown[best]
    spread = scale**2 * float((drawn**2).sum())
    freedom = max((by_user + variance) ** 2 / spread, 1.0) if spread else np.inf
    return DayNoise(variance, freedom, float(_ALIKE[alike]))


def days_of(
    users: UserTable, sums: Values, below: Values
) -> tuple[NDArray[np.int64], Values, Values, Values]:
    """Return days of the impression, what each adds to the difference, the part of users, shares.

    The part of users is the covariance of days by the users who have both: (days, days).
    """
    away, shown = np.empty_like(sums), below.sum()
    for arm, sign in ((users.arm > 0, 1), (users.arm == 0, -1)):
        ratio = sums[arm].sum() / below[arm].sum()
        away[arm] = sign * (sums[arm] - ratio * below[arm]) / below[arm].sum()
    window = sums.shape[1]
    days, day = np.unique(users.entry_day[:, None] + np.arange(window), return_inverse=True)
    by_users = np.zeros((len(days), len(days)))
    order = np.argsort(users.entry_day, kind="stable")
    entries, starts = np.unique(users.entry_day[order], return_index=True)
    for entry, some in zip(entries, np.split(away[order], starts[1:]), strict=True):
        first = np.searchsorted(days, entry)
        by_users[first : first + window, first : first + window] += some.T @ some
    between, shares = np.zeros((2, len(days)))
    np.add.at(between, day.ravel(), away.ravel())
    np.add.at(shares, day.ravel(), below.ravel() / shown)
    return days, between, by_users, shares
