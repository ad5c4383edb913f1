"""What evaluation asks of whatever ranks posts: of `engagement`, and of baselines.

Baselines are rankers without a model, which a trained one must beat to be worth its cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feedmill.events.post import Post
from feedmill.features.counters import KIND_INDEX, Counters
from feedmill.models.text_model import Scores
from feedmill.rankers.engagement import ExpectedClicks


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
class EngagementRanker:
    """Ranks by the value of `engagement`: its prior, moved by what was counted."""

    model: ExpectedClicks

    @property
    def name(self) -> str:
        """The signal's name."""
        return self.model.name

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the model's values: (posts,)."""
        return self.model.score_many(self.model.prior_many(posts), counters)


# --- baselines ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MostClicked:
    """Ranks by the number of clicks so far."""

    name: str = "most clicked"

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the clicks: (posts,)."""
        return _counts(counters, "click")


@dataclass(frozen=True, slots=True)
class SmoothedRate:
    """Ranks by clicks per impression, shrunken to one rate for all posts (additive smoothing).

    Attributes
    ----------
    base
        The rate of a post that nobody has seen.
    prior_weight
        How many impressions it is worth.
    """

    base: float
    prior_weight: float
    name: str = "smoothed rate"

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the rates: (posts,) in [0, 1]; a click without an impression counts as one."""
        clicks = _counts(counters, "click")
        impressions = np.maximum(_counts(counters, "impression"), clicks)
        return (clicks + self.prior_weight * self.base) / (impressions + self.prior_weight)


@dataclass(frozen=True, slots=True)
class Constant:
    """Gives each post the same value, such as the rate of all posts."""

    value: float
    name: str = "constant"

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return the value for each post: (posts,)."""
        return np.full(len(posts), self.value)


@dataclass(frozen=True, slots=True)
class SeededShuffle:
    """Ranks by chance: by a hash of the seed and the post's id."""

    seed: int
    name: str = "seeded shuffle"

    def score_posts(self, posts: Sequence[Post], counters: Sequence[Counters]) -> Scores:
        """Return uniform numbers: (posts,) in [0, 1)."""
        texts = (f"{self.seed}|{post.post_id}".encode() for post in posts)
        hashes = [hashlib.blake2b(text, digest_size=6).digest() for text in texts]
        whole = [int.from_bytes(digest, "big") for digest in hashes]
        return np.array(whole, dtype=np.float64) / 2.0**48


def _counts(counters: Sequence[Counters], kind: str) -> Scores:
    """Return the number of events of a kind: (posts,)."""
    return np.array([one.counts[KIND_INDEX[kind]] for one in counters], dtype=np.float64)
