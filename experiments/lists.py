"""What other lists of the same arms would show: an interval by user and by day.

All users of an arm see the same lists, so an interval by user is for these lists alone.  Each day
has lists of its own: what the difference varies by day of the impression, beyond what users explain
that have it, adds to its variance (Cameron, Gelbach and Miller, "Robust inference with multiway
clustering", 2011).  A copy of the control has the control's lists, and cannot show this noise.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from feedmill.events.experiment import Experiment
from feedmill.experiments.effects import Bounds, Effect, columns_of
from feedmill.experiments.sequences import Values
from feedmill.experiments.table import UserTable


def other_lists(table: UserTable, experiment: Experiment, effect: Effect) -> Bounds | None:
    """Return the primary difference with its bounds over users and days, as of the last look.

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
        columns[:, [one]] * days / np.maximum(days.sum(axis=1, keepdims=True), 1e-9)
        for one, days in enumerate((users.day_sums, users.day_impressions))
    )
    errors = float(reach / effect.standard_error)
    by_day, noise, freedom = day_variance(users, sums, below)
    if freedom < 1:
        return None
    whole = effect.standard_error**2 + noise
    left = freedom * (whole / by_day) ** 2 if by_day else np.inf
    reach = student.isf(norm.sf(errors), left) * np.sqrt(whole)
    return float(estimate), float(estimate - reach), float(estimate + reach)


def day_variance(users: UserTable, sums: Values, below: Values) -> tuple[float, float, float]:
    """Return the variance between days, what of it users do not explain, its degrees of freedom.

    `sums` and `below` are what users add to numerator and denominator: (users, days of the window).
    """
    away, shown = np.empty_like(sums), below.sum()
    for arm, sign in ((users.arm > 0, 1), (users.arm == 0, -1)):
        ratio = sums[arm].sum() / below[arm].sum()
        away[arm] = sign * (sums[arm] - ratio * below[arm]) / below[arm].sum()
    day = users.entry_day[:, None] + np.arange(sums.shape[1])
    day = np.unique(day, return_inverse=True)[1]
    weights = np.bincount(day.ravel(), below.ravel()) / shown
    # So many days of equal weight; the arms' own means take one degree of freedom.
    days = 1 / float((weights**2).sum())
    between = np.bincount(day.ravel(), away.ravel())
    by_day = float((between**2).sum()) * days / max(days - 1, 1e-9)
    return by_day, max(0.0, by_day - float((away**2).sum())), days - 1
