"""How challengers of a filter are tried: on labels, rater by rater, and on ordinary posts.

*Better*: a bet is the mean over the posts of one rater, of the difference of two Brier scores.

*Not worse*: on ordinary posts that are older than the window, one bet an author that the challenger
hides no larger part than the champion and `MARGIN`; a post that is demoted counts half.

*No veto*: the audit (`audit_differences`) weighs what the challenger does wrong beside the
champion.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.events.post import Post
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.continual.challenger import MARGIN, Contest
from feedmill.training.continual.rated_posts import AuditedPost, RatedPost, bet_groups
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.local_model import MIN_LABELS, MIN_OF_CLASS, fit_local
from feedmill.training.recipes import Recipe

MIN_REFERENCE = 3_000
# Of the authors of ordinary posts one in so many chooses thresholds, the others are the reference.
_CHOOSING = 3
# A challenger may demote so many ordinary posts, even if the champion demotes none.
_LEAST_DEMOTE_RATE = 0.005
# So many labels, and of each kind, before it bets for the first time.
_FIRST_ROWS, _FIRST_OF_CLASS = 40, 10
# It is fitted again once it has so many times the labels.
_GROWTH = 1.5


@dataclass(frozen=True)
class OrdinaryPosts:
    """Ordinary posts, older than the window, divided by author (or another group).

    Attributes
    ----------
    choosing
        Choose the thresholds of every challenger.
    reference
        Never change while the process runs.
    authors
        The group of each reference post, ascending from 0.
    """

    choosing: LabelledPosts
    reference: LabelledPosts
    authors: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: LabelledPosts) -> OrdinaryPosts:
        """Divide rows by a hash of their group."""
        chooses = [zlib.crc32(group.encode()) % _CHOOSING == 0 for group in rows.groups]
        mask: Mask = np.array(chooses, dtype=np.bool_)
        reference = rows.where(~mask)
        numbers = {group: n for n, group in enumerate(dict.fromkeys(reference.groups))}
        authors = np.array([numbers[group] for group in reference.groups], dtype=np.int64)
        return cls(rows.where(mask), reference, authors)


@dataclass(frozen=True)
class LabelContest(Contest[FittedFilter, frozenset[str]]):
    """Challengers of a filter.

    Attributes
    ----------
    champion
        The model in force, which is to be beaten.
    base
        From which every challenger starts, often the same.
    recipe
        That of the filter.
    ordinary
        What chooses thresholds, and the reference.
    rows
        The labelled posts of the window, in the order of time.
    audit
        Rows that may veto, in the order of time.
    was_bet_on
        The ids of posts on which an earlier challenger has bet: they train, and bet no more.
    """

    champion: FilterModel
    base: FilterModel
    recipe: Recipe
    ordinary: OrdinaryPosts
    rows: Sequence[RatedPost]
    audit: Sequence[AuditedPost]
    was_bet_on: frozenset[str]

    least_new = 100
    reference_reason = "it may be worse on ordinary posts"

    @cached_property
    def known(self) -> list[RatedPost]:
        """The rows that bet no more."""
        return [row for row in self.rows if row.post.post_id in self.was_bet_on]

    @cached_property
    def fresh(self) -> list[RatedPost]:
        """The rows that bet."""
        return [row for row in self.rows if row.post.post_id not in self.was_bet_on]

    @property
    def bet_on(self) -> frozenset[str]:
        return frozenset(row.post.post_id for row in self.rows)

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "labels": len(self.rows),
            "raters": len({rater for row in self.rows for rater in row.raters}),
            "new": len(self.fresh),
            "audited": len(self.audit),
        }

    def too_few(self) -> str:
        return _too_few(self.rows, MIN_LABELS, MIN_OF_CLASS)

    def bets(self) -> Values:
        """Return the difference of Brier scores of each rater's posts, before they are learned."""
        differences: list[float] = []
        learned, model, fitted_on = [*self.known], self.champion, 0
        for group in bet_groups(self.fresh, learned):
            if len(learned) >= _GROWTH * fitted_on and not _too_few(
                learned, _FIRST_ROWS, _FIRST_OF_CLASS
            ):
                model, fitted_on = self._model(self._fitted(learned)), len(learned)
            if fitted_on and group.bets:
                rows = _as_labelled([self.fresh[n] for n in group.bets])
                if len(rows):
                    gains = brier(self.champion, rows) - brier(model, rows)
                    differences.append(float(gains.mean()))
            learned.extend(self.fresh[n] for n in group.rows)
        return np.array(differences)

    def fit(self) -> FittedFilter:
        return self._fitted([*self.known, *self.fresh])

    def reference_differences(self, fitted: FittedFilter) -> Values:
        return reference_differences(self.champion, self._model(fitted), self.ordinary)

    def audit_differences(self, fitted: FittedFilter) -> Values:
        return audit_differences(self.champion, self._model(fitted), self.audit)

    def _fitted(self, rows: Sequence[RatedPost]) -> FittedFilter:
        choosing = [self.ordinary.choosing]
        return fit_local(self.base, self._own_recipe, [_as_labelled(rows)], choosing)

    @cached_property
    def _own_recipe(self) -> Recipe:
        """The recipe with the demote rate of the champion, if that is less.

        The recipe allows a filter to demote many ordinary posts.  A challenger that did would be
        worse than a champion that does not.
        """
        values = self.champion.score_many(self.ordinary.choosing.posts)
        rate = max(float((values >= DEMOTE_AT).mean()), _LEAST_DEMOTE_RATE)
        return replace(self.recipe, max_demote_rate=min(self.recipe.max_demote_rate, rate))

    def _model(self, fitted: FittedFilter) -> FilterModel:
        believed = self.champion.believed_self_labels
        return fitted.model(self.champion.name, "challenger", believed)


def brier(model: FilterModel, rows: LabelledPosts) -> Values:
    """Return the squared error of a model's value for each row: (rows,), in [0, 1]."""
    losses: Values = (model.score_many(rows.posts) - rows.labels) ** 2
    return losses


def harm(model: FilterModel, rows: LabelledPosts) -> Values:
    """Return what a model does to fine posts: (rows,), 1 where it hides, 0.5 where it demotes.

    At the thresholds of the default gate.  What a value below them is makes no difference.
    """
    return _done(model, rows.posts)


def _done(model: FilterModel, posts: Sequence[Post]) -> Values:
    values = model.score_many(posts)
    done: Values = ((values >= DEMOTE_AT).astype(np.float64) + (values >= HIDE_AT)) / 2
    return done


def reference_differences(
    champion: FilterModel, challenger: FilterModel, ordinary: OrdinaryPosts
) -> Values:
    """Return for each author how much less harm the challenger does than it may: (authors,), <= 1.

    It is positive on average where the challenger's harm is less than the champion's and `MARGIN`.
    """
    rows = ordinary.reference
    gains = harm(champion, rows) - harm(challenger, rows) + MARGIN
    sizes = np.bincount(ordinary.authors)
    means: Values = np.bincount(ordinary.authors, gains) / sizes / (1 + MARGIN)
    return means


def audit_differences(
    champion: FilterModel, challenger: FilterModel, rows: Sequence[AuditedPost]
) -> Values:
    """Return for each audited post how much more wrong the challenger does: (rows,), in [-1, 1].

    Wrong is to show what violates, to hide what is fine, and by half to demote either.  A row has
    the inverse of its probability as its weight, 1 at most: that of the tenth with the lowest
    probabilities, so that no single one makes all others weigh nothing.
    """
    if not rows:
        return np.zeros(0)
    posts = [row.post for row in rows]
    labels: Values = np.array([row.label for row in rows])
    probabilities: Values = np.array([row.probability for row in rows])
    wrong = np.abs(_done(challenger, posts) - labels) - np.abs(_done(champion, posts) - labels)
    lowest = np.quantile(probabilities, 0.1, method="higher")
    differences: Values = wrong * np.minimum(lowest / probabilities, 1.0)
    return differences


def _as_labelled(rows: Sequence[RatedPost]) -> LabelledPosts:
    """Return rows as the trainers want them, one a text."""
    return from_posts("labels", "author", ((r.post, r.label, r.post.author_id) for r in rows))


def _too_few(rows: Sequence[RatedPost], least: int, of_class: int) -> str:
    violating = sum(row.label > 0.5 for row in rows)
    if len(rows) >= least and min(violating, len(rows) - violating) >= of_class:
        return ""
    return (
        f"there are {violating} labels that violate and {len(rows) - violating} that are fine,"
        f" expected {least}, {of_class} of each kind"
    )
