"""How challengers of a filter are tried: on labels in the order of records, and on ordinary posts.

*Better*: see `label_bets`.

*Not worse*: on ordinary posts that are older than the window, one bet an author that the challenger
harms no larger part than the champion and `MARGIN`; a post that is demoted counts half.

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

from feedmill.events.gates import DEMOTE_AT, HIDE_AT, GatePolicy
from feedmill.events.post import Post
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.continual.challenger import Contest
from feedmill.training.continual.label_bets import (
    Bets,
    bets_on,
    done_by,
    labelled_posts,
    without_floods,
)
from feedmill.training.continual.rated_posts import AuditedPost
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.label_join import LabelRecord
from feedmill.training.local_model import MIN_OF_CLASS, fit_local
from feedmill.training.recipes import Recipe

MIN_REFERENCE = 3_000
# Of the authors of ordinary posts one in so many chooses thresholds, the others are the reference.
_CHOOSING = 3
# Fewer labels make a version that only a thousand more of them would show to be beaten.
MIN_LABELS = 200
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
class LabelContest(Contest[FittedFilter]):
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
    records
        The labels of the window, in the order of records.
    from_ms
        From when on they bet, Unix milliseconds; earlier ones train.
    audit
        Rows that may veto, in the order of time.
    """

    champion: FilterModel
    base: FilterModel
    recipe: Recipe
    ordinary: OrdinaryPosts
    gate: GatePolicy
    records: Sequence[LabelRecord]
    from_ms: int
    audit: Sequence[AuditedPost]

    reference_reason = "it may be worse on ordinary posts"

    @cached_property
    def counted(self) -> list[LabelRecord]:
        """The labels that count, of which no rater has too many."""
        return without_floods(self.records)

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "labels": len(self.counted),
            "raters": len({record.rater for record in self.counted}),
            "beyond a rater's part": len(self.records) - len(self.counted),
            "audited": len(self.audit),
        }

    def too_few(self) -> str:
        violating = sum(record.label > 0.5 for record in self.counted)
        fine = len(self.counted) - violating
        if violating + fine < MIN_LABELS or min(violating, fine) < MIN_OF_CLASS:
            return (
                f"there are {violating} labels that violate and {fine} that are fine, expected"
                f" {MIN_LABELS}, {MIN_OF_CLASS} of each kind"
            )
        if not self.gate.required:
            return "the gate is off or in shadow, so nothing that it does can be bet on"
        return ""

    def better(self) -> tuple[int, float]:
        bets = self.bets()
        return len(bets.raters), bets.e_value()

    def bets(self) -> Bets:
        """Have challengers bet on the labels that count."""
        return bets_on(self.counted, self.from_ms, self.champion, self.gate, self._challenger)

    def fit(self) -> FittedFilter:
        return self._fitted(self.counted)

    def reference_differences(self, fitted: FittedFilter) -> Values:
        return reference_differences(self.champion, self._model(fitted), self.ordinary)

    def audit_differences(self, fitted: FittedFilter) -> Values:
        return audit_differences(self.champion, self._model(fitted), self.audit)

    def limits(self, fitted: FittedFilter, posts: Sequence[Post]) -> tuple[float, float]:
        """Return what shares of posts it may hide, and demote or hide, beyond the champion.

        That is what it does to `posts` beyond the champion, and a hundredth.
        """
        if not posts:
            return _MORE, _MORE
        versions = (self._model(fitted), self.champion)
        new, old = (done_by(self.gate, one.score_many(posts)) for one in versions)
        more = [float((new >= done).mean() - (old >= done).mean()) for done in (1.0, 0.5)]
        hides, stops = (float(np.clip(one + _MORE, _MORE, MOST_MORE)) for one in more)
        return round(hides, 4), round(stops, 4)

    def _challenger(self, records: Sequence[LabelRecord]) -> FilterModel:
        return self._model(self._fitted(records))

    def _fitted(self, records: Sequence[LabelRecord]) -> FittedFilter:
        rows = [(post, label, post.author_id) for post, label in labelled_posts(records)]
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
