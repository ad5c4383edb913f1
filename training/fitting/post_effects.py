"""Fit what authors and hours add to the log of the click rate, beside the lift of the text.

Posts of one community and day are compared with each other: so neither takes over what a large
community or a busy day does.  Both effects are shrunken, as random effects are: an author of few
posts hardly moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.authorship import DAY_HOURS, UNKNOWN_AUTHOR, AuthorKeys, Hours
from feedmill.rankers.engagement import PostEffects
from feedmill.training.arrays import Mask, Values
from feedmill.training.fitting.ngram_models import folds_of, out_of_fold

Places = npt.NDArray[np.int64]

# Block coordinate descent; each round is a pass over the rows.
_ROUNDS = 20


@dataclass(frozen=True)
class EffectPenalties:
    """How many posts halve an effect; the best of each is chosen out of fold, infinity: no effect.

    Attributes
    ----------
    hours
        Of an hour of the day.
    authors
        Of an author.
    """

    hours: tuple[float, ...]
    authors: tuple[float, ...]


@dataclass(frozen=True)
class EffectRows:
    """Posts as the fit reads them.

    Attributes
    ----------
    logs, weights
        (rows,): the log of the click rate, and how much the row weighs.
    hours, authors
        (rows,): as `hours_of_day` and `author_keys` return them.
    days
        (rows,): the community and day of each; only rows that share both are compared.
    groups
        (rows,): folds never divide a group.
    """

    logs: Values
    weights: Values
    hours: Hours
    authors: AuthorKeys
    days: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]


class FittedEffects(NamedTuple):
    """What was fitted, and (rows,) what it adds to each row when fitted without its fold."""

    effects: PostEffects
    out_of_fold: Values


def fit_effects(rows: EffectRows, lifts: Values, penalties: EffectPenalties) -> FittedEffects:
    """Fit on what (rows,) lifts leave unexplained; one kind of effect first, then both."""
    problem = _Problem.of(rows, rows.logs - lifts)
    hours = min(penalties.hours, key=lambda p: problem.loss(p, np.inf))
    authors = min(penalties.authors, key=lambda p: problem.loss(hours, p))
    of_hours, of_authors = problem.solve(hours, authors, np.ones(len(lifts), dtype=np.bool_))
    known = np.flatnonzero((problem.names != UNKNOWN_AUTHOR) & np.isfinite(authors))
    effects = PostEffects(
        of_hours,
        problem.names[known],
        np.append(of_authors[known], 0.0),
    )
    return FittedEffects(effects, problem.added(hours, authors))


@dataclass(frozen=True)
class _Problem:
    """Penalised least squares: rest = day + hour + author, where days have no penalty.

    `hours`, `authors`, `days` and `folds` are (rows,) places, `names` the key of each author.
    """

    rest: Values
    weights: Values
    hours: Places
    authors: Places
    names: AuthorKeys
    days: Places
    folds: Places

    @classmethod
    def of(cls, rows: EffectRows, rest: Values) -> _Problem:
        names, authors = np.unique(rows.authors, return_inverse=True)
        days = np.unique(rows.days, return_inverse=True)[1]
        hours = np.where(rows.hours < 0, DAY_HOURS, rows.hours).astype(np.int64)
        folds = folds_of(rows.groups)
        return cls(rest, rows.weights, hours, authors, names, days, folds)

    def solve(
        self, hour_penalty: float, author_penalty: float, kept: Mask
    ) -> tuple[Values, Values]:
        """Return the effects of hours, (25,), and of authors, by `names`, fitted on some rows."""
        weights = np.where(kept, self.weights, 0.0)
        hours, authors = np.zeros(DAY_HOURS + 1), np.zeros(len(self.names))
        is_author, is_hour = self.names != UNKNOWN_AUTHOR, np.arange(DAY_HOURS + 1) < DAY_HOURS
        for _ in range(_ROUNDS):
            left = self.rest - hours[self.hours] - authors[self.authors]
            left = left - _day_means(left, weights, self.days)
            hours = is_hour * _shrunken(
                left + hours[self.hours], weights, self.hours, len(hours), hour_penalty
            )
            left = self.rest - hours[self.hours] - authors[self.authors]
            left = left - _day_means(left, weights, self.days)
            authors = is_author * _shrunken(
                left + authors[self.authors], weights, self.authors, len(authors), author_penalty
            )
        return hours, authors

    def added(self, hour_penalty: float, author_penalty: float) -> Values:
        """Return what effects that were fitted without a row's fold add to it: (rows,)."""

        def score(kept: Mask, held_out: Mask) -> Values:
            hours, authors = self.solve(hour_penalty, author_penalty, kept)
            return np.asarray((hours[self.hours] + authors[self.authors])[held_out])

        return out_of_fold(self.folds, score)

    def loss(self, hour_penalty: float, author_penalty: float) -> float:
        """Return the weighted squared error within days of what is added out of fold."""
        left = self.rest - self.added(hour_penalty, author_penalty)
        left = left - _day_means(left, self.weights, self.days)
        return float(self.weights @ left**2)


def _day_means(values: Values, weights: Values, days: Places) -> Values:
    """Return for each row the mean of its day: (rows,)."""
    return _shrunken(values, weights, days, int(days.max()) + 1, 0.0)[days]


def _shrunken(
    values: Values, weights: Values, places: Places, count: int, penalty: float
) -> Values:
    """Return the weighted mean at each of so many places, drawn to 0 by a penalty in rows."""
    if np.isinf(penalty):
        return np.zeros(count)
    total = np.bincount(places, weights, minlength=count)
    sums = np.bincount(places, weights * values, minlength=count)
    return np.asarray(sums / np.maximum(total + penalty, 1e-12))
