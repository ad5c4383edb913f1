"""A linear model of a text: its hashed n-grams and its shape, with one weight each.

A weighted sum of such models is such a model again: a ranker keeps the models of its constructs
apart in its artifact, and reads each text once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.events.errors import BadArtifact
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix
from feedmill.models.artifact import Arrays, Artifact
from feedmill.models.text_model import (
    NgramModel,
    Scores,
    model_arrays,
    read_array,
    read_ngram_model,
)

FEATURES = ("ngrams", *SHAPE_COLUMNS)
_LARGEST_WEIGHT = 4095
_LARGEST_NUMBER = 1e6


@dataclass(frozen=True, slots=True)
class LinearText:
    """The score of a text is that of its n-grams plus a weighted sum of its shape's columns.

    Attributes
    ----------
    ngram_model
        Its `word_factor` is 1; its bias is that of the whole.
    shape_weights
        (`SHAPE_COLUMNS`,) float64.
    """

    ngram_model: NgramModel
    shape_weights: Scores

    def score(self, batch: TextBatch) -> Scores:
        """Return the score of each text: (rows,) float64; a row does not depend on the others."""
        if not len(batch):
            return np.zeros(0)
        by_shape = np.add.reduce(shape_matrix(batch) * self.shape_weights, axis=1)
        scores: Scores = self.ngram_model.score(batch) + by_shape
        return scores


def quantised(weights: Scores, bias: float) -> NgramModel:
    """Round (BUCKETS,) weights to whole steps of the largest over 4095."""
    scale = float(np.abs(weights).max()) / _LARGEST_WEIGHT or 1.0
    scale = float(np.float32(scale))
    whole = np.clip(np.rint(weights / scale), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
    return NgramModel(whole.astype(np.int16), scale, float(np.float32(bias)))


def weighted_sum(models: Sequence[LinearText], weights: Sequence[float]) -> LinearText:
    """Return the model whose score is the weighted sum of the models' scores, but for rounding."""
    pairs = list(zip(models, weights, strict=True))
    ngrams = sum(weight * model.ngram_model.real_weights for model, weight in pairs)
    bias = sum(weight * model.ngram_model.bias for model, weight in pairs)
    shape = sum(weight * model.shape_weights for model, weight in pairs)
    return LinearText(quantised(np.asarray(ngrams), bias), np.asarray(shape, dtype=np.float64))


def linear_text_arrays(models: Mapping[str, LinearText]) -> Arrays:
    """Return the arrays of an artifact with these models, which `read_linear_text` reads."""
    arrays = model_arrays({name: model.ngram_model for name, model in models.items()})
    return {**arrays, **{f"shape_{name}": m.shape_weights for name, m in models.items()}}


def read_linear_text(artifact: Artifact, name: str) -> LinearText:
    """Read a model of an artifact; raises `BadArtifact`."""
    shape_weights = read_array(artifact, f"shape_{name}")
    ngram_model = read_ngram_model(artifact, name)
    if shape_weights.shape != (len(SHAPE_COLUMNS),):
        raise BadArtifact(
            f"{artifact.label}: the array `shape_{name}` has the shape {shape_weights.shape}, not "
            f"({len(SHAPE_COLUMNS)},); retrain"
        )
    largest = max(np.abs(shape_weights).max(), abs(ngram_model.scale), abs(ngram_model.bias))
    # Beyond it a sum of models may overflow.
    if largest > _LARGEST_NUMBER or ngram_model.word_factor != 1:
        raise BadArtifact(
            f"{artifact.label}: its model `{name}` has a number beyond {_LARGEST_NUMBER:g} or a "
            "word factor that is not 1; retrain"
        )
    return LinearText(ngram_model, shape_weights.astype(np.float64))
