"""How challengers of quality are tried, on ratings in the order of records.

A challenger is the version in force and a linear model of what ratings say beyond it.

*Better*: see `label_bets`.  A bet is how much less squared error a challenger has than the version
in force, *recalibrated* by the line that fits the same earlier ratings: to move or to stretch all
values changes no order, and is no reason for a release.

*No veto*: the audit weighs the squared errors of both versions.  There is no reference: no rating
is known of ordinary posts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.events.post import Post
from feedmill.models.text_model import LinearText
from feedmill.rankers.quality import QualityModel, bounded
from feedmill.training.arrays import Values
from feedmill.training.continual.label_bets import (
    FIRST_LABELS,
    MIN_LABELS,
    LabelContest,
    labels_of_posts,
)
from feedmill.training.continual.rated_posts import audit_weights
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.fitting.quality import fit_delta, with_delta
from feedmill.training.label_join import LabelRecord
from feedmill.training.recipes import OWN_PENALTIES

# Fewer do not say what is liked in general.
_LEAST_AUTHORS = 20


@dataclass(frozen=True)
class RatingContest(LabelContest[LinearText]):
    """Challengers of quality; what is fitted is what they add to the champion.

    Attributes
    ----------
    champion
        The model in force, which is to be beaten and from which every challenger starts.
    """

    champion: QualityModel

    def too_few(self) -> str:
        if len(self.counted) >= MIN_LABELS and self.has_enough(self.counted):
            return ""
        authors = len({record.post.author_id for record in self.counted})
        return (
            f"there are {len(self.counted)} labels of posts of {authors} authors, expected"
            f" {MIN_LABELS} of {_LEAST_AUTHORS}, and not all alike"
        )

    def has_enough(self, records: Sequence[LabelRecord]) -> bool:
        return (
            len(records) >= FIRST_LABELS
            and len({record.post.author_id for record in records}) >= _LEAST_AUTHORS
            and len({record.label for record in records}) > 1
        )

    def gains(self, earlier: Sequence[LabelRecord], later: Sequence[LabelRecord]) -> Values:
        posts, labels = [one.post for one in later], np.array([one.label for one in later])
        rated = _rated(earlier)
        slope, offset = _line(self.champion.score_many(rated.posts), rated.labels)
        old = bounded(slope * self.champion.score_many(posts) + offset)
        new = self._challenger(self._delta(rated)).score_many(posts)
        # The largest gain or loss by any label: what is bet on does not depend on the scale.
        most = float((np.abs(old - new) * np.maximum(old + new, 2 - old - new)).max())
        return np.asarray(((old - labels) ** 2 - (new - labels) ** 2) / (most or 1.0))

    def expected(self, earlier: Sequence[LabelRecord], later: Sequence[LabelRecord]) -> Values:
        posts = [one.post for one in later]
        return self._challenger(self._delta(_rated(earlier))).score_many(posts)

    def fit(self) -> LinearText:
        return self._delta(_rated(self.counted))

    def reference_differences(self, fitted: LinearText) -> None:
        return None

    def audit_differences(self, fitted: LinearText) -> Values:
        if not self.audit:
            return np.zeros(0)
        posts, labels = (
            [row.post for row in self.audit],
            np.array([row.label for row in self.audit]),
        )
        versions = (self._challenger(fitted), self.champion)
        new, old = ((model.score_many(posts) - labels) ** 2 for model in versions)
        return np.asarray((new - old) * audit_weights(self.audit))

    def limits(self, fitted: LinearText, posts: Sequence[Post]) -> dict[str, float]:
        """Return none: quality has no gate, so time decides about its candidate."""
        return {}

    def _delta(self, rated: LabelledPosts) -> LinearText:
        return fit_delta(self.champion, rated, OWN_PENALTIES)

    def _challenger(self, delta: LinearText) -> QualityModel:
        return with_delta(self.champion, delta)


def _rated(records: Sequence[LabelRecord]) -> LabelledPosts:
    rows = [(post, rating, post.author_id) for post, rating in labels_of_posts(records)]
    return from_posts("labels", "author", rows)


def _line(scores: Values, labels: Values) -> tuple[float, float]:
    """Return slope and offset of the line from scores to labels with the least squared error."""
    spread = scores - scores.mean()
    slope = float(spread @ labels / (spread @ spread)) if np.ptp(scores) else 0.0
    return slope, float(labels.mean() - slope * scores.mean())
