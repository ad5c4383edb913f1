"""Expected clicks per impression: a prior from the text, moved by the decayed counters.

A Beta-binomial posterior mean (prior worth `strength` impressions) in log-odds, corrected by
LightGBM under monotone constraints: more positive reactions at the same impressions never lower
the value.  As of the counters' own last event: no clock.
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

Scores = npt.NDArray[np.float64]

POSITIVE = ("click", "like", "reply", "share")
NEGATIVE = ("hide", "report")
_SIGN = np.zeros(len(KIND_INDEX))
_SIGN[[KIND_INDEX[kind] for kind in POSITIVE]] = 1.0
_SIGN[[KIND_INDEX[kind] for kind in NEGATIVE]] = -1.0
# How many times the fitted strength the prior is worth in each of the trees' columns.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
COUNT_FEATURES = ("log_odds_prior", *(f"log_odds_posterior_{s:g}" for s in STRENGTHS))
FEATURES = (*stacked_columns(("lift",)), *COUNT_FEATURES)
_LEAST, _MOST = 1e-6, 1 - 1e-6
_LARGEST_LIFT = 1.2


class EngagementModel(Protocol):
    """What the engagement stage asks of its model.  CPU only, no clock, row-independent."""

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

    def score_many(self, priors: Scores, counters: Sequence[Counters]) -> Scores:
        """Return (len(priors),) expected clicks per impression, as of each one's last event."""
        ...


def reactions(counters: Sequence[Counters]) -> tuple[Scores, Scores]:
    """Return decayed positives and effective impressions: (rows,) each.

    Positives are clicks, likes, replies and shares less hides and reports, at least 0.  Where
    there are fewer impressions than positives (a product that logs none), every positive is one.
    """
    decayed = decayed_counts(counters)
    positives = np.maximum((decayed * _SIGN).sum(axis=1), 0.0)
    return positives, np.maximum(decayed[:, KIND_INDEX["impression"]], positives)


def count_columns(
    priors: Scores, positives: Scores, impressions: Scores, strength: float
) -> Scores:
    """Return the trees' columns: (rows, len(COUNT_FEATURES)), each rising with `positives`."""
    columns = [log_odds(priors)]
    columns += [posterior(priors, positives, impressions, strength * s) for s in STRENGTHS]
    return np.stack(columns, axis=1)


def posterior(priors: Scores, positives: Scores, impressions: Scores, strength: float) -> Scores:
    """Return the log-odds of the posterior mean, the prior being worth `strength` impressions."""
    return log_odds((positives + strength * priors) / (impressions + strength))


def log_odds(rates: Scores) -> Scores:
    """Return the log-odds of rates, kept within a millionth of 0 and 1."""
    kept = np.clip(rates, _LEAST, _MOST)
    odds: Scores = np.log(kept / (1 - kept))
    return odds


def probability(odds: Scores) -> Scores:
    """Return the logistic function."""
    values: Scores = 1.0 / (1.0 + np.exp(-odds))
    return values


@dataclass(frozen=True, slots=True)
class ExpectedClicks:
    """The shipped `EngagementModel`."""

    name: str
    version: str
    ngram_model: NgramModel
    lift: Trees
    correction: Trees
    base: float  # expected clicks per impression of an average post
    strength: float  # impressions that a prior is worth

    def prior_many(self, posts: Sequence[Post]) -> Scores:
        """Return the base rate lifted or lowered by the text, at most e**1.2 times."""
        if not posts:
            return np.zeros(0)
        return self.prior_texts(TextBatch([post.text for post in posts]))

    def prior_texts(self, batch: TextBatch) -> Scores:
        """Return the prior of texts whose n-grams are already hashed."""
        lift = self.lift.raw_scores(stacked_matrix((self.ngram_model,), batch))
        return self.base * np.exp(np.clip(lift, -_LARGEST_LIFT, _LARGEST_LIFT))

    def score_many(self, priors: Scores, counters: Sequence[Counters]) -> Scores:
        """Return the expected clicks per impression in [0, 1]."""
        if not len(counters):
            return np.zeros(0)
        positives, impressions = reactions(counters)
        return self.value(np.asarray(priors, dtype=np.float64), positives, impressions)

    def value(self, priors: Scores, positives: Scores, impressions: Scores) -> Scores:
        """Return the score of given counts; the prior itself where there are none."""
        columns = count_columns(priors, positives, impressions, self.strength)
        # Taken from where no counts would put it, so that the first reaction never lowers.
        none = np.repeat(columns[:, :1], columns.shape[1], axis=1)
        correction = self.correction.raw_scores(columns) - self.correction.raw_scores(none)
        odds = columns[:, 1 + STRENGTHS.index(1.0)] + correction
        return np.where(impressions > 0, probability(odds), priors)

    @classmethod
    def of(cls, artifact: Artifact) -> ExpectedClicks:
        """Build from a checked artifact; raises `BadArtifact`."""
        try:
            base, strength = (float(artifact.metadata[key]) for key in ("base", "strength"))
        except (KeyError, TypeError, ValueError) as error:
            raise BadArtifact(
                f"model `{artifact.name}@{artifact.version}`: no {error} in it; retrain"
            ) from error
        table = read_ngram_model(artifact, "lift")
        trees = (read_trees(artifact, "trees_lift"), read_trees(artifact, "trees_correction"))
        return cls(artifact.name, artifact.version, table, *trees, base, strength)
