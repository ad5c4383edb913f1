"""What evaluation asks of whatever ranks posts: of shipped rankers, and of baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feedmill.events.post import Post
from feedmill.features.counters import Counters
from feedmill.models.text_model import Scores, TextModel
from feedmill.rankers.engagement import EngagementModel


class PostRanker(Protocol):
    """Scores posts by what they say and by how people reacted; the highest is shown first.

    CPU only, reads no clock, gives the same scores each time.  A post's score does not depend on
    the other posts.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return finite scores, (posts,) float64, of posts with the reactions counted so far."""
        ...


@dataclass(frozen=True, slots=True)
class TextRanker:
    """Ranks by the value of a model of texts, as `quality`."""

    model: TextModel

    @property
    def name(self) -> str:
        """The signal's name."""
        return self.model.name

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the model's values: (posts,); `counters` are not read."""
        return self.model.score_many(posts)


@dataclass(frozen=True, slots=True)
class EngagementRanker:
    """Ranks by the value of `engagement`: its prior, moved by what was counted."""

    model: EngagementModel

    @property
    def name(self) -> str:
        """The signal's name."""
        return self.model.name

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the model's values: (posts,)."""
        return self.model.score_many(self.model.prior_many(posts), counters)


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Ranks by ``alpha * quality + beta * engagement``, as a feed does for posts of one age."""

    quality: PostRanker
    engagement: PostRanker
    alpha: float
    beta: float

    @property
    def name(self) -> str:
        """The two weights."""
        return f"{self.alpha:g} quality + {self.beta:g} engagement"

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the weighted sums: (posts,)."""
        quality = self.quality.score_posts(posts, counters)
        engagement = self.engagement.score_posts(posts, counters)
        return np.asarray(self.alpha * quality + self.beta * engagement, dtype=np.float64)
