"""Models of posts: what a stage asks of them, the parts that they share, and a stacked model.

`StackedTextModel` serves the quality ranker: linear models on hashed n-grams, LightGBM trees over
their scores and the shape of the text, and a calibrator.  The filters use the same parts.
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

_MAX_WEIGHT = 4095
_MAX_WORD_FACTOR = 100


class TextModel(Protocol):
    """Scores posts; the stages of the filters and of quality call it for every batch.

    CPU only: it does no I/O and reads no clock.  Safe to call from one thread at a time.  The
    score of a post does not depend on the other posts.  It may raise on a post; the caller then
    scores the batch one by one.
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
        """Return the scores of posts: (posts,) float64 in [0, 1]."""
        ...

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return the same for a batch whose features other models read too."""
        ...


@dataclass(frozen=True, slots=True)
class NgramModel:
    """A linear model on hashed n-grams, whose weights are small integers: sums are exact.

    The score of a text is ``sum of weights * scale / sqrt(token count) + bias``, so that long
    texts do not outweigh short ones.

    Attributes
    ----------
    weights
        (`BUCKETS`,), each between -4095 and 4095.
    scale, bias
        What turns a sum of weights into a score.
    word_factor
        How many times the weight of a word or of a pair of words counts.
    """

    weights: npt.NDArray[np.int32]
    scale: float
    bias: float
    word_factor: int = 1

    @property
    def real_weights(self) -> Scores:
        """The weights times the scale: (BUCKETS,) float64."""
        return np.asarray(self.weights * self.scale, dtype=np.float64)

    def score(self, batch: TextBatch) -> Scores:
        """Return the score of each text: (rows,) float64."""
        return self.score_sums(
            batch.weighted_sums(self.weights, self.word_factor), np.sqrt(batch.token_counts())
        )

    def score_sums(self, sums: npt.NDArray[np.int64], lengths: Scores) -> Scores:
        """Return the scores from (rows,) sums of weights and (rows,) roots of token counts."""
        return sums * self.scale / lengths + self.bias


def stacked_columns(ngram_models: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that the trees of a stacked model read: n-gram scores, then shape."""
    return (*(f"ngrams_{name}" for name in ngram_models), *SHAPE_COLUMNS)


def stacked_matrix(ngram_models: Sequence[NgramModel], batch: TextBatch) -> Scores:
    """Return those columns of each text: (rows, n-gram models + shape columns) float64."""
    lengths = np.sqrt(batch.token_counts())
    linear = [
        t.score_sums(batch.weighted_sums(t.weights, t.word_factor), lengths) for t in ngram_models
    ]
    return np.concatenate([*(column[:, None] for column in linear), shape_matrix(batch)], axis=1)


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A monotone map of raw scores to [0, 1]: piecewise linear in log-odds, then logistic.

    Attributes
    ----------
    raw, log_odds
        (knots,) each, at least one; both rising.
    """

    raw: Scores
    log_odds: Scores

    def value(self, raw: Scores) -> Scores:
        """Map (rows,) raw scores to (rows,) float64 in [0, 1]; constant beyond the outer knots."""
        values: Scores = 1.0 / (1.0 + np.exp(-np.interp(raw, self.raw, self.log_odds)))
        return values


@dataclass(frozen=True, slots=True)
class StackedTextModel:
    """A `TextModel`: n-gram models, trees over their scores and the text's shape, a calibrator."""

    name: str
    version: str
    ngram_models: tuple[NgramModel, ...]
    trees: Trees
    calibrator: Calibrator

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return the same for a batch whose features other models read too."""
        return self.score_texts(batch.text)

    def score_texts(self, batch: TextBatch) -> Scores:
        """Return the scores of texts whose n-grams are hashed: (rows,) float64 in [0, 1]."""
        if not len(batch):
            return np.zeros(0)
        return self.calibrator.value(
            self.trees.raw_scores(stacked_matrix(self.ngram_models, batch))
        )

    @classmethod
    def of(cls, artifact: Artifact, names: Sequence[str]) -> StackedTextModel:
        """Build from a checked artifact with n-gram models of these names; raises `BadArtifact`."""
        ngram_models = tuple(read_ngram_model(artifact, name) for name in names)
        trees = read_trees(artifact, "trees")
        if trees.feature_count != len(names) + len(SHAPE_COLUMNS):
            raise BadArtifact(
                f"{artifact.label}: its trees read {trees.feature_count} columns, this build has "
                f"{len(names) + len(SHAPE_COLUMNS)}; retrain"
            )
        calibrator = read_calibrator(artifact)
        return cls(artifact.name, artifact.version, ngram_models, trees, calibrator)


def read_array(artifact: Artifact, key: str) -> npt.NDArray[Any]:
    """Read an array of real numbers, none of them NaN; raises `BadArtifact`."""
    try:
        array = artifact.arrays[key]
    except KeyError as error:
        raise BadArtifact(f"{artifact.label}: it has no array `{key}`; retrain") from error
    if array.dtype.kind not in "iuf" or np.isnan(array).any():
        raise BadArtifact(
            f"{artifact.label}: its array `{key}` has other values than real numbers; retrain"
        )
    return array


def read_ngram_model(artifact: Artifact, name: str) -> NgramModel:
    """Read an n-gram model of an artifact; raises `BadArtifact`."""
    weights = read_array(artifact, f"table_{name}")
    constants = read_array(artifact, f"linear_{name}")
    if weights.shape != (BUCKETS,) or constants.shape != (3,):
        raise BadArtifact(
            f"{artifact.label}: the arrays of its n-gram model `{name}` have the shapes "
            f"{weights.shape} and {constants.shape}, not ({BUCKETS},) and (3,); retrain"
        )
    scale, bias, word_factor = constants.tolist()
    # Beyond them the sum of a long text may overflow.
    largest = np.abs(weights.astype(np.float64)).max()
    if largest > _MAX_WEIGHT or not 1 <= word_factor <= _MAX_WORD_FACTOR:
        raise BadArtifact(
            f"{artifact.label}: its n-gram model `{name}` has a weight beyond {_MAX_WEIGHT} or a "
            f"word factor that is not from 1 to {_MAX_WORD_FACTOR}; retrain"
        )
    return NgramModel(weights.astype(np.int32), scale, bias, int(word_factor))


def read_calibrator(artifact: Artifact) -> Calibrator:
    """Read the calibrator of an artifact; raises `BadArtifact`."""
    calibrator = Calibrator(
        read_array(artifact, "curve_raw"), read_array(artifact, "curve_log_odds")
    )
    raw, log_odds = calibrator.raw.shape, calibrator.log_odds.shape
    if raw != log_odds or len(raw) != 1 or not raw[0]:
        raise BadArtifact(
            f"{artifact.label}: the knots of its calibrator have the shapes {raw} and {log_odds}, "
            "not twice (n,) with n > 0; retrain"
        )
    return calibrator


def read_trees(artifact: Artifact, key: str) -> Trees:
    """Read the trees of an artifact, LightGBM's text; raises `BadArtifact`."""
    text = read_array(artifact, key).tobytes().decode("utf-8", "replace")
    try:
        return Trees.parse(text)
    except BadArtifact as error:
        raise BadArtifact(f"{artifact.label}: {error}") from error


def model_arrays(
    ngram_models: dict[str, NgramModel], trees: dict[str, str], calibrator: Calibrator | None = None
) -> Arrays:
    """Return the arrays of an artifact with these parts, which the functions above read.

    `trees` holds LightGBM's text by the key of the array.
    """
    arrays: Arrays = {}
    for name, model in ngram_models.items():
        arrays[f"table_{name}"] = model.weights.astype(np.int16)
        arrays[f"linear_{name}"] = np.array([model.scale, model.bias, model.word_factor])
    for name, text in trees.items():
        arrays[name] = np.frombuffer(text.encode(), dtype=np.uint8)
    if calibrator is not None:
        arrays["curve_raw"], arrays["curve_log_odds"] = calibrator.raw, calibrator.log_odds
    return arrays
