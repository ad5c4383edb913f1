"""The model of a filter: n-gram scores and columns of evidence, weighed, then calibrated.

Raw scores become probabilities by a threshold for each length of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.gates import DEMOTE_AT
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.filters.raised_values import raise_by_domains, raise_self_labelled
from feedmill.models.artifact import Arrays, Artifact
from feedmill.models.text_model import (
    NgramModel,
    Scores,
    model_arrays,
    read_array,
    read_ngram_model,
)


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability; infinite at 1."""
    return inf if probability == 1 else log(probability / (1 - probability))


_DEMOTE_LOG_ODDS = log_odds(DEMOTE_AT)


@dataclass(frozen=True, slots=True)
class LengthCalibrator:
    """A logistic map whose threshold depends on the length of the text.

    Attributes
    ----------
    lengths
        (bands - 1,) the most characters of a text in each band but the last, ascending.
    demote_at
        (bands,) the raw score that becomes `DEMOTE_AT`.
    slope
        How many log-odds one raw score is worth.
    ceiling
        No value is higher; values come close to it and never meet.
    """

    lengths: npt.NDArray[np.int64]
    demote_at: Scores
    slope: float
    ceiling: float

    def value(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Map (rows,) raw scores of texts of so many characters to (rows,) float64 in [0, 1]."""
        if len(raw) == 1:
            return np.array([self._value_of_one(raw.item(), characters.item())])
        values: Scores = 1.0 / (1.0 + np.exp(-self.log_odds(raw, characters)))
        return values

    def _value_of_one(self, raw: float, characters: int) -> float:
        """Return what `value` does of one score, by Python's numbers."""
        threshold = self.demote_at.item(int(self.lengths.searchsorted(characters)))
        # Up and down again, as `log_odds` does: rounding is part of the value.
        above = self.slope * (raw - threshold) + _DEMOTE_LOG_ODDS - _DEMOTE_LOG_ODDS
        room = log_odds(self.ceiling) - _DEMOTE_LOG_ODDS
        if above > 0 and room < inf:
            above = room * float(np.tanh(np.divide(above, room)))
        odds = max(above + _DEMOTE_LOG_ODDS, -700.0)
        return 1.0 / (1.0 + float(np.exp(-odds)))

    def log_odds(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Return the log-odds of the same values: (rows,)."""
        above = self.unlimited(raw, characters) - _DEMOTE_LOG_ODDS
        room = log_odds(self.ceiling) - _DEMOTE_LOG_ODDS
        if room < inf:
            above = np.where(above > 0, room * np.tanh(above / room), above)
        odds: Scores = np.maximum(above + _DEMOTE_LOG_ODDS, -700.0)
        return odds

    def unlimited(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Return the log-odds without the ceiling, linear in the raw score: (rows,)."""
        above = raw - self.demote_at[self.lengths.searchsorted(characters)]
        return self.slope * above + _DEMOTE_LOG_ODDS


_WHOLE_ROW = np.zeros(1, dtype=np.intp)


class Evidence(NamedTuple):
    """What a filter reads of a post.

    Attributes
    ----------
    views
        The texts of a post (`PostBatch.view`) that get an n-gram model each: `text`, `hosts`,
        `paths`.
    groups
        The groups of numeric columns (`features.registry.FEATURE_GROUPS`).
    domains
        Whether the credibility of linked domains raises its values (`raised_values.py`).
    """

    views: tuple[str, ...]
    groups: tuple[str, ...] = ()
    domains: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: a score for each view, then the groups' columns."""
        columns = (name for group in self.groups for name in FEATURE_GROUPS[group].columns)
        return (*(f"ngrams_{view}" for view in self.views), *columns)


def view_score(model: NgramModel, view: str, batch: PostBatch) -> Scores:
    """Return an n-gram model's score of each post's view: (posts,), 0 where the view is empty."""
    texts = batch.view(view)
    if view == "text":
        return model.score(texts)
    if not any(texts.texts):
        return np.zeros(len(batch))
    has_view = batch.has_content(view)
    scores: Scores = np.where(has_view, model.score(texts), 0.0)
    return scores


@dataclass(frozen=True, slots=True)
class FilterModel:
    """The model of every filter, a logistic regression; a `TextModel`.

    Attributes
    ----------
    ngram_models
        One for each view of the evidence.
    weights, bias
        (columns,) float64, what each column of the evidence weighs, and what is added.
    calibrator
        Maps raw scores to probabilities.
    believed_self_labels
        As in `FilterSpec`.
    """

    name: str
    version: str
    ngram_models: tuple[NgramModel, ...]
    evidence: Evidence
    weights: Scores
    bias: float
    calibrator: LengthCalibrator
    believed_self_labels: frozenset[str] = frozenset()

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]: the probability that a post violates."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return (len(batch),) float64 in [0, 1], of posts whose features several models share."""
        if not len(batch):
            return np.zeros(0)
        values = self.calibrator.value(self.raw_scores(batch), batch.characters)
        if self.evidence.domains:
            values = raise_by_domains(batch, values)
        return raise_self_labelled(self.believed_self_labels, batch.posts, values)

    def raw_scores(self, batch: PostBatch) -> Scores:
        """Return the scores before calibration: (posts,), any real number."""
        views = zip(self.ngram_models, self.evidence.views, strict=True)
        scores = [view_score(model, view, batch) for model, view in views]
        total = sum(scores, cast(Scores, self.bias))
        start = len(self.ngram_models)
        for group in self.evidence.groups:
            columns = batch.computed(FEATURE_GROUPS[group].compute)
            weights = self.weights[start : start + columns.shape[1]]
            start += len(weights)
            if np.count_nonzero(columns):
                # A matrix product may round a row differently in another batch; these sums do not.
                total += np.add.reduceat(columns * weights, _WHOLE_ROW, axis=1)[:, 0]
        return total

    def evidence_rows(self, batch: PostBatch) -> Scores:
        """Return the columns that are weighed, by `Evidence.names`: (posts, columns) float64."""
        views = zip(self.ngram_models, self.evidence.views, strict=True)
        scores = np.stack([view_score(model, view, batch) for model, view in views], axis=1)
        groups = (batch.computed(FEATURE_GROUPS[group].compute) for group in self.evidence.groups)
        return np.concatenate([scores, *groups], axis=1)

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        evidence: Evidence,
        believed_self_labels: frozenset[str] = frozenset(),
    ) -> FilterModel:
        """Build from a checked artifact.

        Raises
        ------
        BadArtifact
            An array is missing, or it was trained on another number of columns.
        """
        ngram_models = tuple(read_ngram_model(artifact, view) for view in evidence.views)
        weights = read_array(artifact, "weights").astype(np.float64)
        if len(weights) != len(evidence.names):
            raise BadArtifact(
                f"model `{artifact.name}@{artifact.version}`: it weighs {len(weights)} columns, "
                f"not {len(evidence.names)}; retrain"
            )
        bias, slope, ceiling = read_array(artifact, "calibration").tolist()
        calibrator = LengthCalibrator(
            read_array(artifact, "lengths"), read_array(artifact, "demote_at"), slope, ceiling
        )
        return cls(
            artifact.name,
            artifact.version,
            ngram_models,
            evidence,
            weights,
            bias,
            calibrator,
            believed_self_labels,
        )

    def arrays(self) -> Arrays:
        """Return the arrays of an artifact, which `of` reads."""
        calibrator = self.calibrator
        return model_arrays(dict(zip(self.evidence.views, self.ngram_models, strict=True))) | {
            "weights": self.weights,
            "lengths": calibrator.lengths,
            "demote_at": calibrator.demote_at,
            "calibration": np.array([self.bias, calibrator.slope, calibrator.ceiling]),
        }
