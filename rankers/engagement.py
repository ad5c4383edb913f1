"""Engagement: the probability that whoever is shown a post clicks it, in [0, 1].

A prior from the text is moved by decayed counters: the mean of a Beta distribution, the prior being
worth `prior_weight` impressions.  The prior multiplies the rate of an average post.  It sums one
linear model for each kind of reaction, and each of them learned what is liked, shared, answered or
clicked within a group, not what group it is in.  A head may add what the kind of media says beside
the text; an unknown kind adds nothing.  A model of a product's own impressions adds what author and
hour say; the shipped one knows none.  LightGBM's trees correct the sum by the shape of the text;
they never fall as it rises.  Counters are read as of their own last event, so that no clock is
needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.authorship import DAY_HOURS, AuthorKeys, Hours, author_keys, hours_of_day
from feedmill.features.counters import KIND_INDEX, Counters, decayed_counts
from feedmill.features.media import MEDIA_KINDS, media_kinds
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix
from feedmill.models.artifact import Arrays, Artifact
from feedmill.models.text_model import (
    FEATURES,
    LinearText,
    Scores,
    read_array,
    read_linear_text,
    read_trees,
    weighted_sum,
)
from feedmill.models.trees import Trees
from feedmill.rankers.spec import RankerSpec

_HOURS, _KEYS, _AUTHORS = "effects_hours", "effects_author_keys", "effects_authors"
_LARGEST_EFFECT = 1e6
_MOST_AUTHORS = 1_000_000

# The kinds of reaction; each has a model in the artifact.
HEADS = ("click", "like", "reply", "share")
_REACTIONS = [KIND_INDEX[kind] for kind in HEADS]
_IMPRESSION = KIND_INDEX["impression"]
_LEAST, _MOST = 1e-6, 1 - 1e-6
LARGEST_LIFT = 1.2
_LARGEST_HEAD_WEIGHT = 1e3
_LARGEST_MEDIA_EFFECT = 1e6


@dataclass(frozen=True, slots=True)
class PostEffects:
    """The effects of hours and authors; what a model does not know adds 0.

    Attributes
    ----------
    hours
        (25,) float64: by hour of the day, UTC, and at the end 0 for an unknown hour.
    keys
        (authors,) int64: the known authors by `author_key`, rising.
    authors
        (authors + 1,) float64: what each adds, and at the end 0 for an unknown author.
    """

    hours: npt.NDArray[np.float64]
    keys: AuthorKeys
    authors: npt.NDArray[np.float64]

    def lift_posts(self, posts: Sequence[Post]) -> npt.NDArray[np.float64]:
        """Return what hour and author add to each post: (posts,) in log."""
        return self.lift(hours_of_day(posts), author_keys(posts))

    def lift(self, hours: Hours, authors: AuthorKeys) -> npt.NDArray[np.float64]:
        """Return the same of (posts,) hours and authors."""
        added: npt.NDArray[np.float64] = self.hours[hours]
        if not len(self.keys):
            return added
        places = np.minimum(np.searchsorted(self.keys, authors), len(self.keys) - 1)
        is_known = self.keys[places] == authors
        return added + np.where(is_known, self.authors[places], self.authors[-1])


def effect_arrays(effects: PostEffects | None) -> Arrays:
    """Return the arrays of an artifact with these effects; none without any."""
    if effects is None:
        return {}
    return {
        _HOURS: effects.hours[:-1],
        _KEYS: effects.keys,
        _AUTHORS: effects.authors[:-1],
    }


def read_effects(artifact: Artifact) -> PostEffects | None:
    """Read the effects of an artifact, None if it has none; raises `BadArtifact`."""
    if _HOURS not in artifact.arrays:
        return None
    hours, keys, authors = (read_array(artifact, key) for key in (_HOURS, _KEYS, _AUTHORS))
    is_usable = (
        hours.shape == (DAY_HOURS,)
        and keys.dtype == np.int64
        and keys.ndim == 1
        and keys.shape == authors.shape
        and len(keys) <= _MOST_AUTHORS
        and bool((np.diff(keys) > 0).all())
        and np.abs(np.concatenate([hours, authors])).max() <= _LARGEST_EFFECT
    )
    if not is_usable:
        raise BadArtifact(
            f"{artifact.label}: expected {DAY_HOURS} effects of hours, and rising keys of authors"
            f" with an effect each, up to {_LARGEST_EFFECT:g}, found the shapes {hours.shape},"
            f" {keys.shape} and {authors.shape}, or others in them; retrain"
        )
    return PostEffects(
        np.append(hours.astype(np.float64), 0.0), keys, np.append(authors.astype(np.float64), 0.0)
    )


def clicks_and_impressions(counters: Sequence[Counters]) -> tuple[Scores, Scores]:
    """Return decayed clicks and impressions: (rows,) float64 each.

    Whoever likes, answers or shares a post has read it, logged or not.  So there are as many clicks
    as of the most frequent of these reactions; a sum would count a user twice.  Hides and reports
    are no clicks, and take none away.
    """
    decayed = decayed_counts(counters)
    return np.maximum.reduce(decayed[:, _REACTIONS], axis=1), decayed[:, _IMPRESSION]


def posterior(priors: Scores, clicks: Scores, impressions: Scores, prior_weight: float) -> Scores:
    """Return the mean of the click rate given counts: (rows,) in [0, 1].

    Where some impressions were not logged, each click counts as one.  A post without any, as in a
    product that logs none, has no rate: then the log-odds of its prior rise by half the log of
    (1 + clicks).  That ranks posts, but is no probability.
    """
    shown = np.maximum(impressions, clicks)
    means = (clicks + prior_weight * priors) / (shown + prior_weight)
    without = 1.0 / (1.0 + np.exp(-(log_odds(priors) + 0.5 * np.log1p(clicks))))
    unseen = np.where(clicks > 0, without, priors)
    return np.where(impressions > 0, means, unseen)


def log_odds(rates: Scores) -> Scores:
    """Return the log-odds of (rows,) rates, which are clipped to [1e-6, 1 - 1e-6] before."""
    clipped = np.minimum(np.maximum(rates, _LEAST), _MOST)
    odds: Scores = np.log(clipped / (1 - clipped))
    return odds


def prior_of(base: float, lift: Scores) -> Scores:
    """Return the base rate lifted by (rows,) logs, by e**1.2 at most: (rows,)."""
    return base * np.exp(np.minimum(np.maximum(lift, -LARGEST_LIFT), LARGEST_LIFT))


def tree_columns(lift: Scores, shape: npt.NDArray[np.floating[Any]]) -> Scores:
    """Return what the trees read: the linear lift, then the shape of the text; (rows, columns)."""
    return np.concatenate((lift[:, None], shape), axis=1)


@dataclass(frozen=True, slots=True)
class ExpectedClicks:
    """What a model says of each post, as its stage asks for it.

    CPU only, does not block, reads no clock, safe to call from one thread at a time.  A row's
    score does not depend on the other rows.

    Attributes
    ----------
    name, version
        The signal's name, and the first 12 hexadecimal digits of the artifact's sha256.
    media
        By kind of reaction, what each of `MEDIA_KINDS` adds to the score of the text, and at the
        end 0 for an unknown kind: (kinds + 1,) float64.
    lift, media_lift
        The weighted sums of both: by how much a text, and its media, lift the base rate, in log.
    effects
        What author and hour add to the lift; None in models that learned nothing of them.
    trees
        What `tree_columns` adds to the lift; None in models from before there were trees.
    base
        Expected clicks per impression of an average post.
    prior_weight
        How many impressions a prior is worth.
    """

    name: str
    version: str
    heads: Mapping[str, LinearText]
    media: Mapping[str, Scores]
    lift: LinearText
    media_lift: Scores
    effects: PostEffects | None
    trees: Trees | None
    base: float
    prior_weight: float

    def prior_many(self, posts: Sequence[Post]) -> Scores:
        """Return the base rate lifted or lowered by each post, at most e**1.2 times: (posts,)."""
        return self.prior_batch(PostBatch(posts))

    def prior_batch(self, batch: PostBatch) -> Scores:
        """Return the prior of posts whose texts other models read as well."""
        lift = self.lift.score(batch.text) + self.media_lift[media_kinds(batch.posts)]
        if self.effects is not None and len(batch):
            lift += self.effects.lift_posts(batch.posts)
        if self.trees is not None:
            lift = lift + self.trees.raw_scores(tree_columns(lift, shape_matrix(batch.text)))
        return prior_of(self.base, lift)

    def score_many(self, priors: Scores, counters: Sequence[Counters]) -> Scores:
        """Return the expected clicks per impression: (len(counters),) in [0, 1]."""
        if not len(counters):
            return np.zeros(0)
        if not any(any(of_post.sums) for of_post in counters):
            # So it is with every new post.
            return np.array(priors, dtype=np.float64)
        clicks, impressions = clicks_and_impressions(counters)
        return self.value(np.asarray(priors, dtype=np.float64), clicks, impressions)

    def value(self, priors: Scores, clicks: Scores, impressions: Scores) -> Scores:
        """Return the score of given counts: (rows,); the prior itself where there are none."""
        return posterior(priors, clicks, impressions, self.prior_weight)

    def variance_many(self, priors: Scores, counters: Sequence[Counters]) -> Scores:
        """Return the variance of the click rate around `score_many`: (len(counters),).

        It is that of the same Beta distribution; NaN where clicks came without any impression: such
        a post has no rate.  Nothing is stored for it: it follows from prior and counters.
        """
        clicks, impressions = clicks_and_impressions(counters)
        means = self.value(priors, clicks, impressions)
        variances = (
            means * (1.0 - means) / (np.maximum(impressions, clicks) + self.prior_weight + 1)
        )
        return np.where((impressions > 0) | (clicks == 0), variances, np.nan)

    @classmethod
    def of(cls, artifact: Artifact) -> ExpectedClicks:
        """Build from a checked artifact; raises `BadArtifact` where a part of it is missing."""
        try:
            base, prior_weight = (float(artifact.metadata[key]) for key in ("base", "prior_weight"))
            weights = [float(artifact.metadata["head_weights"][kind]) for kind in HEADS]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadArtifact(
                f"model `{artifact.name}@{artifact.version}`: no {error} in it; retrain"
            ) from error
        is_usable = (
            0 < base < 1 and prior_weight > 0 and np.isfinite([prior_weight, *weights]).all()
        )
        if not is_usable or np.abs(weights).max() > _LARGEST_HEAD_WEIGHT:
            raise BadArtifact(
                f"{artifact.label}: expected a base rate in (0, 1), a prior weight above 0 and "
                f"weights of heads up to {_LARGEST_HEAD_WEIGHT:g}, found {base:g}, "
                f"{prior_weight:g} and {weights}; retrain"
            )
        heads = {kind: read_linear_text(artifact, kind) for kind in HEADS}
        lift = weighted_sum([*heads.values()], weights)
        media = {kind: _read_media(artifact, kind) for kind in HEADS}
        media_lift = sum_media(media, dict(zip(HEADS, weights, strict=True)))
        trees = None
        if "trees" in artifact.arrays:
            trees = read_trees(artifact, "trees", 1 + len(SHAPE_COLUMNS))
        read = heads, media, lift, media_lift, read_effects(artifact), trees
        return cls(artifact.name, artifact.version, *read, base, prior_weight)


def sum_media(media: Mapping[str, Scores], weights: Mapping[str, float]) -> Scores:
    """Return what media add to the lift, by what they add to heads and what these weigh."""
    return sum((weights[kind] * effects for kind, effects in media.items()), no_media())


def no_media() -> Scores:
    """Return the effects of media in a head that reads none: (kinds + 1,) zeros."""
    return np.zeros(len(MEDIA_KINDS) + 1)


def media_arrays(media: Mapping[str, Scores]) -> Arrays:
    """Return the arrays of an artifact with these effects; none of a head that reads no media."""
    return {f"media_{kind}": effects[:-1] for kind, effects in media.items() if effects.any()}


def _read_media(artifact: Artifact, head: str) -> Scores:
    """Read what media add to a head: nothing in models from before; raises `BadArtifact`."""
    effects = no_media()
    key = f"media_{head}"
    if key not in artifact.arrays:
        return effects
    stored = read_array(artifact, key)
    if stored.shape != (len(MEDIA_KINDS),) or np.abs(stored).max() > _LARGEST_MEDIA_EFFECT:
        raise BadArtifact(
            f"{artifact.label}: expected in its array `{key}` {len(MEDIA_KINDS)} numbers up to "
            f"{_LARGEST_MEDIA_EFFECT:g}, found the shape {stored.shape} or a larger one; retrain"
        )
    effects[:-1] = stored
    return effects


RANKER: RankerSpec[ExpectedClicks] = RankerSpec("engagement", FEATURES, ExpectedClicks.of)
