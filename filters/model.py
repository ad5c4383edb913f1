"""The model of a filter: n-gram models and columns of evidence, a classifier, a calibrator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.filters.self_labels import raise_self_labelled
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import (
    Calibrator,
    NgramModel,
    Scores,
    read_array,
    read_calibrator,
    read_ngram_model,
    read_trees,
)
from feedmill.models.trees import Trees


class Evidence(NamedTuple):
    """What a filter reads of a post.

    Attributes
    ----------
    views
        The texts of a post (`PostBatch.view`) that get an n-gram model each: `text`, `hosts`,
        `paths`.
    groups
        The groups of numeric columns (`features.registry.FEATURE_GROUPS`).
    """

    views: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first column of each view and of each group."""
        sizes = [
            *(1 for _ in self.views),
            *(len(FEATURE_GROUPS[group].columns) for group in self.groups),
        ]
        return tuple(accumulate(sizes[:-1], initial=0))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: a score for each view, then the groups' columns."""
        columns = (name for group in self.groups for name in FEATURE_GROUPS[group].columns)
        return (*(f"ngrams_{view}" for view in self.views), *columns)


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """A sum of linear experts, one for each view and group, each of them with a floor.

    The floor keeps an expert that found nothing in a post from outweighing one that did.

    Attributes
    ----------
    weights
        (columns,) float64.
    starts
        The first column of each expert.
    biases, floors
        (experts,) float64; a floor of -inf is none.
    """

    weights: npt.NDArray[np.float64]
    starts: tuple[int, ...]
    biases: npt.NDArray[np.float64]
    floors: npt.NDArray[np.float64]

    def raw_scores(self, rows: npt.NDArray[np.float64]) -> Scores:
        """Weigh (rows, columns) to (rows,); a row's sum does not depend on the other rows."""
        # A matrix product may round a row differently in another batch; these sums do not.
        sums = np.add.reduceat(rows * self.weights, self.starts, axis=1) + self.biases
        scores: Scores = np.maximum(sums, self.floors).sum(axis=1)
        return scores


def with_columns(
    scores: npt.NDArray[np.float64], groups: Sequence[str], batch: PostBatch
) -> npt.NDArray[np.float64]:
    """Put the columns of `groups` beside the views' scores.

    Parameters
    ----------
    scores
        (posts, views) float64.
    groups
        Groups of columns.
    batch
        The posts.

    Returns
    -------
    (posts, views + columns) float64, a copy.
    """
    return np.concatenate([scores, *(batch.columns(group) for group in groups)], axis=1)


def view_score(model: NgramModel, view: str, batch: PostBatch) -> Scores:
    """Return an n-gram model's score of each post's view: (posts,), 0 where the view is empty."""
    texts = batch.view(view)
    if view == "text":
        return model.score(texts)
    has_view = batch.has_content(view)
    if not has_view.any():
        return np.zeros(len(batch))
    scores: Scores = np.where(has_view, model.score(texts), 0.0)
    return scores


@dataclass(frozen=True, slots=True)
class FilterModel:
    """The model of every filter; a `TextModel`.

    Attributes
    ----------
    ngram_models
        One for each view of the evidence.
    classifier
        Makes one raw score of the views' scores and the columns of evidence.
    calibrator
        Maps raw scores to probabilities.
    believed_self_labels
        As in `FilterSpec`.
    """

    name: str
    version: str
    ngram_models: tuple[NgramModel, ...]
    evidence: Evidence
    classifier: ExpertWeights | Trees
    calibrator: Calibrator
    believed_self_labels: frozenset[str] = frozenset()

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]: the probability that a post violates."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return (len(batch),) float64 in [0, 1], of posts whose features several models share."""
        if not len(batch):
            return np.zeros(0)
        values = self.calibrator.value(self.raw_scores(batch))
        return raise_self_labelled(self.believed_self_labels, batch.posts, values)

    def raw_scores(self, batch: PostBatch) -> Scores:
        """Return the classifier's scores before calibration: (posts,), any real number."""
        views = zip(self.ngram_models, self.evidence.views, strict=True)
        scores = np.stack([view_score(model, view, batch) for model, view in views], axis=1)
        return self.classifier.raw_scores(with_columns(scores, self.evidence.groups, batch))

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
            An array is missing, or its classifier was trained on another number of columns.
        """
        classifier = _read_classifier(artifact, evidence)
        calibrator = read_calibrator(artifact)
        ngram_models = tuple(read_ngram_model(artifact, view) for view in evidence.views)
        return cls(
            artifact.name,
            artifact.version,
            ngram_models,
            evidence,
            classifier,
            calibrator,
            believed_self_labels,
        )


def _read_classifier(artifact: Artifact, evidence: Evidence) -> ExpertWeights | Trees:
    expected = len(evidence.names)
    classifier: ExpertWeights | Trees
    if "weights" in artifact.arrays:
        classifier = _read_expert_weights(artifact, evidence)
        columns = len(classifier.weights)
    else:
        classifier = read_trees(artifact, "trees")
        columns = classifier.feature_count
    if columns != expected:
        raise BadArtifact(
            f"model `{artifact.name}@{artifact.version}`: it weighs {columns} columns, not "
            f"{expected}; retrain"
        )
    return classifier


def _read_expert_weights(artifact: Artifact, evidence: Evidence) -> ExpertWeights:
    weights = read_array(artifact, "weights").astype(np.float64)
    experts = read_array(artifact, "experts").astype(np.float64)
    if experts.shape != (2, len(evidence.starts)):
        raise BadArtifact(
            f"model `{artifact.name}@{artifact.version}`: its experts are {experts.shape}, not "
            f"(2, {len(evidence.starts)}); retrain"
        )
    return ExpertWeights(weights, evidence.starts, experts[0], experts[1])
