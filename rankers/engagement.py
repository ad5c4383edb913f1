"""Engagement: expected clicks per impression, a prior from the text moved by decayed counters.

A Beta-binomial posterior mean in log-odds, the prior being worth `prior_weight` impressions, is
corrected by LightGBM under monotone constraints: more positive reactions at the same impressions
never lower the value.  Counters are read as of their own last event, so that no clock is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.counters import KIND_INDEX, Counters, decayed_counts
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import (
    NgramModel,
    read_ngram_model,
    read_trees,
    stacked_columns,
    stacked_matrix,
)
from feedmill.models.trees import Trees
from feedmill.rankers.spec import RankerSpec

Scores = npt.NDArray[np.float64]

POSITIVE = ("click", "like", "reply", "share")
NEGATIVE = ("hide", "report")
_SIGN = np.zeros(len(KIND_INDEX))
_SIGN[[KIND_INDEX[kind] for kind in POSITIVE]] = 1.0
_SIGN[[KIND_INDEX[kind] for kind in NEGATIVE]] = -1.0
# In each posterior column of the trees the prior weighs so many times its fitted weight.
PRIOR_WEIGHT_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
_FITTED = 1 + PRIOR_WEIGHT_FACTORS.index(1.0)
COUNT_FEATURES = (
    "log_odds_prior",
    *(f"log_odds_posterior_{factor:g}" for factor in PRIOR_WEIGHT_FACTORS),
)
FEATURES = (*stacked_columns(("lift",)), *COUNT_FEATURES)
_LEAST, _MOST = 1e-6, 1 - 1e-6
_LARGEST_LIFT = 1.2


class EngagementModel(Protocol):
    """What the engagement stage asks of its model.

    CPU only, does not block, reads no clock, safe to call from one thread at a time.  A row's
    score does not depend on the other rows.
    """

    @property
    def name(self) -> str:
        """The signal's name."""
        ...

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        ...

    def prior_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) expected clicks per impression before anybody has seen the post."""
        ...

    def prior_batch(self, batch: PostBatch) -> Scores:
        """Return `prior_many` of posts whose texts other models read as well."""
        ...

    def score_many(self, priors: Scores, counters: Sequence[Counters]) -> Scores:
        """Return (len(priors),) expected clicks per impression, as of each one's last event."""
        ...


def reactions(counters: Sequence[Counters]) -> tuple[Scores, Scores]:
    """Return decayed positives and effective impressions: (rows,) float64 each.

    Positives are clicks, likes, replies and shares less hides and reports, at least 0.  Where
    there are fewer impressions than positives (a product that logs none), each positive counts
    as one impression.
    """
    decayed = decayed_counts(counters)
    positives = np.maximum((decayed * _SIGN).sum(axis=1), 0.0)
    return positives, np.maximum(decayed[:, KIND_INDEX["impression"]], positives)


def count_columns(
    priors: Scores, positives: Scores, impressions: Scores, prior_weight: float
) -> Scores:
    """Return the columns that the trees correct by; each of them rises with `positives`.

    Parameters
    ----------
    priors, positives, impressions
        (rows,) float64: clicks per impression, then decayed counts.
    prior_weight
        How many impressions the prior is worth.

    Returns
    -------
    (rows, len(COUNT_FEATURES)) float64, log-odds.
    """
    weights = prior_weight * np.array(PRIOR_WEIGHT_FACTORS)
    priors, positives = priors[:, np.newaxis], positives[:, np.newaxis]
    means = (positives + weights * priors) / (impressions[:, np.newaxis] + weights)
    return log_odds(np.concatenate((priors, means), axis=1))


def fitted_posterior(columns: Scores) -> Scores:
    """Return of `count_columns` the one whose prior has its fitted weight: (rows,) log-odds."""
    return columns[:, _FITTED]


def posterior(
    priors: Scores, positives: Scores, impressions: Scores, prior_weight: float
) -> Scores:
    """Return the log-odds of the posterior mean: (rows,)."""
    return log_odds((positives + prior_weight * priors) / (impressions + prior_weight))


def log_odds(rates: Scores) -> Scores:
    """Return the log-odds of (rows,) rates, which are clipped to [1e-6, 1 - 1e-6] before."""
    clipped = np.minimum(np.maximum(rates, _LEAST), _MOST)
    odds: Scores = np.log(clipped / (1 - clipped))
    return odds


def probability(odds: Scores) -> Scores:
    """Return the logistic function of (rows,) log-odds."""
    values: Scores = 1.0 / (1.0 + np.exp(-odds))
    return values


@dataclass(frozen=True, slots=True)
class ExpectedClicks:
    """The shipped `EngagementModel`.

    Attributes
    ----------
    ngram_model, lift
        Make of a text how far it lifts the base rate, in log.
    correction
        Trees over `count_columns`, added to the posterior's log-odds.
    base
        Expected clicks per impression of an average post.
    prior_weight
        How many impressions a prior is worth.
    """

    name: str
    version: str
    ngram_model: NgramModel
    lift: Trees
    correction: Trees
    base: float
    prior_weight: float

    def prior_many(self, posts: Sequence[Post]) -> Scores:
        """Return the base rate lifted or lowered by each text, at most e**1.2 times: (posts,)."""
        if not posts:
            return np.zeros(0)
        return self.prior_texts(TextBatch([post.text for post in posts]))

    def prior_batch(self, batch: PostBatch) -> Scores:
        """Return the prior of posts whose texts other models read as well."""
        return self.prior_texts(batch.text) if len(batch) else np.zeros(0)

    def prior_texts(self, batch: TextBatch) -> Scores:
        """Return the prior of texts whose n-grams are already hashed: (texts,)."""
        lift = self.lift.raw_scores(stacked_matrix((self.ngram_model,), batch))
        return self.base * np.exp(np.clip(lift, -_LARGEST_LIFT, _LARGEST_LIFT))

    def score_many(self, priors: Scores, counters: Sequence[Counters]) -> Scores:
        """Return the expected clicks per impression: (len(counters),) in [0, 1]."""
        if not len(counters):
            return np.zeros(0)
        positives, impressions = reactions(counters)
        return self.value(np.asarray(priors, dtype=np.float64), positives, impressions)

    def value(self, priors: Scores, positives: Scores, impressions: Scores) -> Scores:
        """Return the score of given counts: (rows,); the prior itself where there are none."""
        columns = count_columns(priors, positives, impressions, self.prior_weight)
        # The correction counts from where it stands without counts: no first reaction lowers.
        uncounted = np.repeat(columns[:, :1], columns.shape[1], axis=1)
        raw = self.correction.raw_scores(np.concatenate((columns, uncounted)))
        correction = raw[: len(columns)] - raw[len(columns) :]
        odds = fitted_posterior(columns) + correction
        return np.where(impressions > 0, probability(odds), priors)

    @classmethod
    def of(cls, artifact: Artifact) -> ExpectedClicks:
        """Build from a checked artifact; raises `BadArtifact` where a part of it is missing."""
        try:
            base, prior_weight = (float(artifact.metadata[key]) for key in ("base", "strength"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadArtifact(
                f"model `{artifact.name}@{artifact.version}`: no {error} in it; retrain"
            ) from error
        ngram_model = read_ngram_model(artifact, "lift")
        trees = (read_trees(artifact, "trees_lift"), read_trees(artifact, "trees_correction"))
        return cls(artifact.name, artifact.version, ngram_model, *trees, base, prior_weight)


RANKER: RankerSpec[EngagementModel] = RankerSpec("engagement", FEATURES, ExpectedClicks.of)
