"""Models over the text of posts: what a stage asks of them, and the one form that ships.

`StackedTextModel` serves the three filters and the quality ranker: linear models on hashed n-grams,
LightGBM over their outputs and the text's shape, a monotone curve to the final value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix
from feedmill.models.artifact import Arrays, Artifact
from feedmill.models.trees import Trees

Scores = npt.NDArray[np.float64]


class TextModel(Protocol):
    """Scores posts by their text; the stages of the filters and of quality call it.

    CPU only, does not block on I/O, no clock, safe to call from one thread at a time.  A row's
    score does not depend on the other rows.  May raise on a post; the caller then goes one by one.
    """

    @property
    def name(self) -> str:
        """The signal's name."""
        ...

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        ...

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]."""
        ...

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return (len(batch),) float64 in [0, 1], of posts that others read as well."""
        ...


@dataclass(frozen=True, slots=True)
class NgramModel:
    """A linear model on hashed n-grams: 12-bit weights, so that sums are exact integers."""

    weights: npt.NDArray[np.int32]  # (BUCKETS,), at most 4095 in size
    scale: float
    bias: float
    word_factor: int = 1  # how many times a word or a pair of words counts

    @property
    def real_weights(self) -> Scores:
        """The weights as real numbers: (BUCKETS,)."""
        return np.asarray(self.weights * self.scale, dtype=np.float64)

    def score(self, batch: TextBatch) -> Scores:
        """Return the linear score of each text: (rows,), the token counts having length 1."""
        return self.score_sums(
            batch.weighted_sums(self.weights, self.word_factor), np.sqrt(batch.token_counts())
        )

    def score_sums(self, sums: npt.NDArray[np.int64], lengths: Scores) -> Scores:
        """Return the linear score from the summed weights and the length of each text."""
        return sums * self.scale / lengths + self.bias


def stacked_columns(tables: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a stacked model: its linear tables, then the text's shape."""
    return (*(f"ngrams_{table}" for table in tables), *SHAPE_COLUMNS)


def stacked_matrix(tables: Sequence[NgramModel], batch: TextBatch) -> Scores:
    """Return the stacked model's input: (rows, tables + shape columns), float64."""
    lengths = np.sqrt(batch.token_counts())
    linear = [t.score_sums(batch.weighted_sums(t.weights, t.word_factor), lengths) for t in tables]
    return np.concatenate([*(column[:, None] for column in linear), shape_matrix(batch)], axis=1)


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A monotone map of raw scores to [0, 1]: straight between knots in log-odds, then logistic."""

    raw: Scores
    log_odds: Scores

    def value(self, raw: Scores) -> Scores:
        """Map (rows,) to (rows,) in [0, 1]; constant beyond the outer knots."""
        values: Scores = 1.0 / (1.0 + np.exp(-np.interp(raw, self.raw, self.log_odds)))
        return values


@dataclass(frozen=True, slots=True)
class StackedTextModel:
    """The shipped `TextModel`."""

    name: str
    version: str
    ngram_models: tuple[NgramModel, ...]
    trees: Trees
    calibrator: Calibrator

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Score posts whose texts several models share."""
        return self.score_texts(batch.text)

    def score_texts(self, batch: TextBatch) -> Scores:
        """Score texts whose n-grams are already hashed."""
        if not len(batch):
            return np.zeros(0)
        return self.calibrator.value(
            self.trees.raw_scores(stacked_matrix(self.ngram_models, batch))
        )

    @classmethod
    def of(cls, artifact: Artifact, tables: Sequence[str]) -> StackedTextModel:
        """Build from a checked artifact with these linear tables; raises `BadArtifact`."""
        what = f"model `{artifact.name}@{artifact.version}`"
        linear = tuple(read_ngram_model(artifact, table) for table in tables)
        trees = read_trees(artifact, "trees")
        if trees.features != len(tables) + len(SHAPE_COLUMNS):
            raise BadArtifact(f"{what}: its trees read {trees.features} columns; retrain")
        calibrator = read_calibrator(artifact)
        return cls(artifact.name, artifact.version, linear, trees, calibrator)


def read_array(artifact: Artifact, key: str) -> npt.NDArray[Any]:
    """Read an array of an artifact; raises `BadArtifact`."""
    try:
        return artifact.arrays[key]
    except KeyError as error:
        raise BadArtifact(
            f"model `{artifact.name}@{artifact.version}`: no array `{key}`; retrain"
        ) from error


def read_ngram_model(artifact: Artifact, table: str) -> NgramModel:
    """Read a linear table of an artifact; raises `BadArtifact`."""
    weights = read_array(artifact, f"table_{table}").astype(np.int32)
    scale, bias, word_factor = read_array(artifact, f"linear_{table}").tolist()
    if weights.shape != (BUCKETS,):
        raise BadArtifact(
            f"model `{artifact.name}@{artifact.version}`: table `{table}` has {len(weights)} "
            f"buckets, this build {BUCKETS}; retrain"
        )
    return NgramModel(weights, scale, bias, int(word_factor))


def read_calibrator(artifact: Artifact) -> Calibrator:
    """Read the curve of an artifact; raises `BadArtifact`."""
    calibrator = Calibrator(
        read_array(artifact, "curve_raw"), read_array(artifact, "curve_log_odds")
    )
    if len(calibrator.raw) != len(calibrator.log_odds) or not len(calibrator.raw):
        raise BadArtifact(
            f"model `{artifact.name}@{artifact.version}`: its curve has no or uneven knots; retrain"
        )
    return calibrator


def read_trees(artifact: Artifact, key: str) -> Trees:
    """Read a LightGBM model of an artifact; raises `BadArtifact`."""
    return Trees.parse(read_array(artifact, key).tobytes().decode("utf-8", "replace"))


def model_arrays(
    tables: dict[str, NgramModel], trees: dict[str, str], calibrator: Calibrator | None = None
) -> Arrays:
    """Return the arrays an artifact of these parts holds."""
    arrays: Arrays = {}
    for name, table in tables.items():
        arrays[f"table_{name}"] = table.weights.astype(np.int16)
        arrays[f"linear_{name}"] = np.array([table.scale, table.bias, table.word_factor])
    for name, text in trees.items():
        arrays[name] = np.frombuffer(text.encode(), dtype=np.uint8)
    if calibrator is not None:
        arrays["curve_raw"], arrays["curve_log_odds"] = calibrator.raw, calibrator.log_odds
    return arrays
