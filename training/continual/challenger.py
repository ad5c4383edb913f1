"""One challenger: trained on the labels of the window, tested on each before it learns from it.

*Better*: the labels that came since the last start are taken rater by rater.  A model of everything
before scores the next rater's posts, and so does the champion; the mean difference of their Brier
scores is one bet (`anytime_test`).  Then the challenger learns these posts, too.

*Not worse*: on ordinary posts that are older than the window, one bet an author that the challenger
hides no larger part than the champion and `MARGIN`; a post that is demoted counts half.

*No veto*: the labels of the audit do not show that it is worse on all posts (`audit`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.events.post import Post
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.continual.anytime_test import e_value
from feedmill.training.continual.audit import AuditedPost
from feedmill.training.continual.rated_posts import RatedPost, bet_groups
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.local_model import MIN_LABELS, MIN_OF_CLASS, fit_local
from feedmill.training.recipes import Recipe

ALPHA = 0.01
MARGIN = 0.01
# Of challengers that are not worse, the audit vetoes one in twenty at most.
VETO_ALPHA = 0.05
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


class Champion(NamedTuple):
    """The model in force, and that from which every challenger starts, often the same."""

    model: FilterModel
    base: FilterModel


class Verdict(NamedTuple):
    """What came of a challenger.

    Attributes
    ----------
    reason
        Why it is not to be released; "" if it is.
    bets, better
        On how many raters it bet, and its e-value there.
    not_worse
        Its e-value on the reference; 1 where it was not better.
    worse
        The e-value of the audit for its being worse; 1 where it was not better.
    fitted
        The challenger that learned from everything; None if it was not better.
    """

    reason: str
    bets: int
    better: float
    not_worse: float = 1.0
    worse: float = 1.0
    fitted: FittedFilter | None = None


def challenge(
    champion: Champion,
    recipe: Recipe,
    known: Sequence[RatedPost],
    fresh: Sequence[RatedPost],
    ordinary: OrdinaryPosts,
    audit: Sequence[AuditedPost] = (),
) -> Verdict:
    """Train a challenger and compare it with the champion; takes seconds.

    Parameters
    ----------
    champion
        Who is to be beaten.
    recipe
        That of the filter.
    known
        Rows that an earlier challenger has bet on: they train, and bet no more.
    fresh
        Rows that came since, in the order of time.
    ordinary
        What chooses thresholds, and the reference.
    audit
        Rows that may veto, in the order of time.
    """
    rows = [*known, *fresh]
    if reason := _too_few(rows, MIN_LABELS, MIN_OF_CLASS):
        return Verdict(reason, 0, 1.0)
    recipe = _with_rates_of(champion.model, recipe, ordinary)
    differences = _progressive(champion, recipe, list(known), fresh, ordinary)
    better = e_value(differences)
    if better < 1 / ALPHA:
        return Verdict("it is not shown to be better", len(differences), better)
    fitted = _fit(champion.base, recipe, rows, ordinary)
    challenger = fitted.model(champion.model.name, "challenger", _believed(champion))
    not_worse = e_value(reference_differences(champion.model, challenger, ordinary))
    worse = e_value(audit_differences(champion.model, challenger, audit))
    reason = "" if not_worse >= 1 / ALPHA else "it may be worse on ordinary posts"
    if not reason and worse >= 1 / VETO_ALPHA:
        reason = "the audit shows that it is worse"
    return Verdict(reason, len(differences), better, not_worse, worse, fitted)


def _with_rates_of(champion: FilterModel, recipe: Recipe, ordinary: OrdinaryPosts) -> Recipe:
    """Return the recipe with the demote rate of the champion, if that is less.

    The recipe allows a filter to demote many ordinary posts.  A challenger that did would be worse
    than a champion that does not.
    """
    rate = float((champion.score_many(ordinary.choosing.posts) >= DEMOTE_AT).mean())
    return replace(
        recipe, max_demote_rate=min(recipe.max_demote_rate, max(rate, _LEAST_DEMOTE_RATE))
    )


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


def _progressive(
    champion: Champion,
    recipe: Recipe,
    learned: list[RatedPost],
    fresh: Sequence[RatedPost],
    ordinary: OrdinaryPosts,
) -> Values:
    """Return the difference of Brier scores of each rater's posts, before they are learned."""
    differences: list[float] = []
    model, fitted_on = champion.model, 0
    for group in bet_groups(fresh, learned):
        if len(learned) >= _GROWTH * fitted_on and not _too_few(
            learned, _FIRST_ROWS, _FIRST_OF_CLASS
        ):
            fitted = _fit(champion.base, recipe, learned, ordinary)
            model = fitted.model(champion.model.name, "challenger", _believed(champion))
            fitted_on = len(learned)
        if fitted_on and group.bets:
            rows = as_labelled([fresh[n] for n in group.bets])
            if len(rows):
                gains = brier(champion.model, rows) - brier(model, rows)
                differences.append(float(gains.mean()))
        learned.extend(fresh[n] for n in group.rows)
    return np.array(differences)


def _fit(
    base: FilterModel, recipe: Recipe, rows: Sequence[RatedPost], ordinary: OrdinaryPosts
) -> FittedFilter:
    return fit_local(base, recipe, [as_labelled(rows)], [ordinary.choosing])


def as_labelled(rows: Sequence[RatedPost]) -> LabelledPosts:
    """Return rows as the trainers want them, one a text."""
    return from_posts("labels", "author", ((r.post, r.label, r.post.author_id) for r in rows))


def _believed(champion: Champion) -> frozenset[str]:
    return champion.model.believed_self_labels


def _too_few(rows: Sequence[RatedPost], least: int, of_class: int) -> str:
    violating = sum(row.label > 0.5 for row in rows)
    if len(rows) >= least and min(violating, len(rows) - violating) >= of_class:
        return ""
    return (
        f"there are {violating} labels that violate and {len(rows) - violating} that are fine,"
        f" expected {least}, {of_class} of each kind"
    )
