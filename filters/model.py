"""The model of a filter: hashed n-grams and columns of evidence, weighed, as a probability."""

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
    """What a filter reads: views of a post by n-grams (a linear table each), groups of columns."""

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
        """The columns: a score for each view, then the groups' columns."""
        columns = (name for group in self.groups for name in FEATURE_GROUPS[group].columns)
        return (*(f"ngrams_{view}" for view in self.views), *columns)


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """A sum of experts: each weighs its own columns, and says no less than its floor.

    So an expert that knows nothing of a post cannot outweigh one that does.
    """

    weights: npt.NDArray[np.float64]  # (columns,)
    starts: tuple[int, ...]  # the first column of each expert
    biases: npt.NDArray[np.float64]  # (experts,)
    floors: npt.NDArray[np.float64]  # (experts,), -inf for none

    def raw_scores(self, rows: npt.NDArray[np.float64]) -> Scores:
        """Weigh (rows, columns) to (rows,); a row's sum does not depend on the other rows."""
        # A matrix product may round a row differently in another batch; these sums do not.
        said = np.add.reduceat(rows * self.weights, self.starts, axis=1) + self.biases
        scores: Scores = np.maximum(said, self.floors).sum(axis=1)
        return scores


def with_columns(
    scores: npt.NDArray[np.float64], groups: Sequence[str], batch: PostBatch
) -> npt.NDArray[np.float64]:
    """Put the columns of `groups` beside the views' scores: (posts, views + columns), float64."""
    return np.concatenate([scores, *(batch.columns(group) for group in groups)], axis=1)


def view_score(table: NgramModel, view: str, batch: PostBatch) -> Scores:
    """Return a table's score of each post's view: (posts,), 0 where it is empty."""
    texts = batch.view(view)
    if view == "text":
        return table.score(texts)
    says = batch.has_content(view)
    scores: Scores = np.where(says, table.score(texts), 0.0) if says.any() else np.zeros(len(batch))
    return scores


@dataclass(frozen=True, slots=True)
class FilterModel:
    """A filter that ships; a `TextModel`."""

    name: str
    version: str
    ngram_models: tuple[NgramModel, ...]
    evidence: Evidence
    head: ExpertWeights | Trees
    calibrator: Calibrator

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]: the probability that a post violates."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Score posts whose features several models share."""
        if not len(batch):
            return np.zeros(0)
        return raise_self_labelled(
            self.name, batch.posts, self.calibrator.value(self.raw_scores(batch))
        )

    def raw_scores(self, batch: PostBatch) -> Scores:
        """Return the scores before the curve: (posts,), any real number."""
        views = zip(self.ngram_models, self.evidence.views, strict=True)
        scores = np.stack([view_score(table, view, batch) for table, view in views], axis=1)
        return self.head.raw_scores(with_columns(scores, self.evidence.groups, batch))

    @classmethod
    def of(cls, artifact: Artifact, evidence: Evidence) -> FilterModel:
        """Build from a checked artifact; raises `BadArtifact`."""
        what = f"model `{artifact.name}@{artifact.version}`"
        columns = len(evidence.names)
        head: ExpertWeights | Trees
        if "weights" in artifact.arrays:
            head = _read_weights(artifact, evidence)
            found = len(head.weights)
        else:
            head = read_trees(artifact, "trees")
            found = head.feature_count
        if found != columns:
            raise BadArtifact(f"{what}: it weighs {found} columns, not {columns}; retrain")
        calibrator = read_calibrator(artifact)
        tables = tuple(read_ngram_model(artifact, view) for view in evidence.views)
        return cls(artifact.name, artifact.version, tables, evidence, head, calibrator)


def _read_weights(artifact: Artifact, evidence: Evidence) -> ExpertWeights:
    weights = read_array(artifact, "weights").astype(np.float64)
    experts = read_array(artifact, "experts").astype(np.float64)
    if experts.shape != (2, len(evidence.starts)):
        raise BadArtifact(
            f"model `{artifact.name}@{artifact.version}`: its experts are {experts.shape}, not "
            f"(2, {len(evidence.starts)}); retrain"
        )
    return ExpertWeights(weights, evidence.starts, experts[0], experts[1])
