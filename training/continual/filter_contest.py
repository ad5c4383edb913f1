"""How challengers of a filter are tried: on labels in the order of records, and on ordinary posts.

*Better*: see `label_bets`.  What is bet on is what the gate in force does to a post (0 show, 1/2
demote, 1 hide) beside the label.

*Not worse*: on ordinary posts that are older than the window, one bet an author that the challenger
harms no larger part than the champion and `MARGIN`; a post that is demoted counts half.

*No veto*: the audit (`audit_differences`) weighs what the challenger does wrong beside the
champion.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT, GatePolicy
from feedmill.events.post import Post
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.continual.label_bets import (
    FIRST_LABELS,
    MIN_LABELS,
    LabelContest,
    labels_of_posts,
)
from feedmill.training.continual.rated_posts import AuditedPost, audit_weights
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.label_join import LabelRecord
from feedmill.training.local_model import MIN_OF_CLASS, fit_local
from feedmill.training.recipes import Recipe

MIN_REFERENCE = 3_000
_DEFAULT_GATE = GatePolicy()
# Of the authors of ordinary posts one in so many chooses thresholds, the others are the reference.
_CHOOSING = 3
# So many labels of each kind before the first fit.
_FIRST_OF_CLASS = 10
# How much more it may harm ordinary posts: hiding one counts 1, demoting one counts 1/2.
MARGIN = 0.005
# It demotes half as many ordinary posts as the champion, and this share at least.
_OF_CHAMPION, _LEAST_DEMOTE_RATE = 0.5, 0.0005
# Beyond the champion it may do what it did to the window's posts and the first of these shares, and
# no more than the second.
_MORE, MOST_MORE = 0.01, 0.05


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
class FilterContest(LabelContest[FittedFilter]):
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
    gate
        The policy of the gate in force: what it does to posts is bet on.
    """

    champion: FilterModel
    base: FilterModel
    recipe: Recipe
    ordinary: OrdinaryPosts
    gate: GatePolicy

    reference_reason = "it may be worse on ordinary posts"

    def too_few(self) -> str:
        violating, fine = _of_each_kind(self.counted)
        if len(self.counted) < MIN_LABELS or min(violating, fine) < MIN_OF_CLASS:
            return (
                f"there are {len(self.counted)} labels: most raters say of {violating} posts that"
                f" they violate, of {fine} that they are fine; expected {MIN_LABELS} labels, and"
                f" {MIN_OF_CLASS} posts of each kind"
            )
        if not self.gate.required:
            return "the gate is off or in shadow, so nothing that it does can be bet on"
        return ""

    def has_enough(self, records: Sequence[LabelRecord]) -> bool:
        return len(records) >= FIRST_LABELS and min(_of_each_kind(records)) >= _FIRST_OF_CLASS

    def gains(self, earlier: Sequence[LabelRecord], later: Sequence[LabelRecord]) -> Values:
        posts, labels = [one.post for one in later], np.array([one.label for one in later])
        models = (self.champion, self._model(self._fitted(earlier)))
        wrong = [np.abs(done_by(self.gate, one.score_many(posts)) - labels) for one in models]
        return np.asarray(wrong[0] - wrong[1])

    def expected(self, earlier: Sequence[LabelRecord], later: Sequence[LabelRecord]) -> Values:
        return self._model(self._fitted(earlier)).score_many([one.post for one in later])

    def fit(self) -> FittedFilter:
        return self._fitted(self.counted)

    def reference_differences(self, fitted: FittedFilter) -> Values:
        return reference_differences(self.champion, self._model(fitted), self.ordinary)

    def audit_differences(self, fitted: FittedFilter) -> Values:
        return audit_differences(self.champion, self._model(fitted), self.audit)

    def limits(self, fitted: FittedFilter, posts: Sequence[Post]) -> dict[str, float]:
        """Return what shares of posts it may hide, and demote or hide, beyond the champion.

        That is what it does to `posts` beyond the champion, and a hundredth.
        """
        limits = {"may_hide": _MORE, "may_demote": _MORE}
        if posts:
            versions = (self._model(fitted), self.champion)
            new, old = (done_by(self.gate, one.score_many(posts)) for one in versions)
            for name, done in zip(limits, (1.0, 0.5), strict=True):
                more = float((new >= done).mean() - (old >= done).mean()) + _MORE
                limits[name] = round(min(max(more, _MORE), MOST_MORE), 4)
        return limits

    def _fitted(self, records: Sequence[LabelRecord]) -> FittedFilter:
        rows = [(post, label, post.author_id) for post, label in majorities(records)]
        labelled = from_posts("labels", "author", rows)
        return fit_local(self.base, self._own_recipe, [labelled], [self.ordinary.choosing])

    @cached_property
    def _own_recipe(self) -> Recipe:
        """The recipe with half the demote rate of the champion, if that is less.

        Else a challenger that is no worse on ordinary posts could not be shown to be so.
        """
        values = self.champion.score_many(self.ordinary.choosing.posts)
        rate = max(float((values >= DEMOTE_AT).mean()) * _OF_CHAMPION, _LEAST_DEMOTE_RATE)
        return replace(self.recipe, max_demote_rate=min(self.recipe.max_demote_rate, rate))

    def _model(self, fitted: FittedFilter) -> FilterModel:
        believed = self.champion.believed_self_labels
        return fitted.model(self.champion.name, "challenger", believed)


def majorities(records: Sequence[LabelRecord]) -> list[tuple[Post, float]]:
    """Return the posts in the order of their first labels, 1 where most raters say so, else 0.

    A post on which the raters tie is left out.
    """
    rows = labels_of_posts(records)
    return [(post, float(label > 0.5)) for post, label in rows if label != 0.5]


def _of_each_kind(records: Sequence[LabelRecord]) -> tuple[int, int]:
    """Return of how many posts most raters say that they violate, and that they are fine."""
    labels = [label for _, label in majorities(records)]
    return int(sum(labels)), int(len(labels) - sum(labels))


def done_by(gate: GatePolicy, values: Values) -> Values:
    """Return what a gate does at these values: (n,), 0 where it shows, 1/2 demotes, 1 hides."""
    if not gate.required:
        return np.zeros(len(values))
    never = np.inf
    hides = values >= (never if gate.hide_at is None else gate.hide_at)
    demotes = values >= (never if gate.demote_at is None else gate.demote_at)
    return np.maximum(hides.astype(np.float64), demotes / 2)


def _done(model: FilterModel, posts: Sequence[Post]) -> Values:
    """Return what the default gate does at a model's values of these posts: (posts,)."""
    return done_by(_DEFAULT_GATE, model.score_many(posts))


def reference_differences(
    champion: FilterModel, challenger: FilterModel, ordinary: OrdinaryPosts
) -> Values:
    """Return for each author how much less harm the challenger does than it may: (authors,), <= 1.

    It is positive on average where the challenger's harm is less than the champion's and `MARGIN`.
    """
    posts = ordinary.reference.posts
    gains = _done(champion, posts) - _done(challenger, posts) + MARGIN
    sizes = np.bincount(ordinary.authors)
    means: Values = np.bincount(ordinary.authors, gains) / sizes / (1 + MARGIN)
    return means


def audit_differences(
    champion: FilterModel, challenger: FilterModel, rows: Sequence[AuditedPost]
) -> Values:
    """Return for each audited post how much more wrong the challenger does: (rows,), in [-1, 1].

    Wrong is to show what violates, to hide what is fine, and by half to demote either.
    """
    if not rows:
        return np.zeros(0)
    posts = [row.post for row in rows]
    labels: Values = np.array([row.label for row in rows])
    wrong = np.abs(_done(challenger, posts) - labels) - np.abs(_done(champion, posts) - labels)
    return np.asarray(wrong * audit_weights(rows))
