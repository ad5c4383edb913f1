"""Fit a filter's classifier: a blend of linear experts, or boosted trees.

`docs/decisions/0013-what-the-filters-read.md` has the choice between them and the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import ExpertWeights, with_columns
from feedmill.models.trees import Trees
from feedmill.training.arrays import Mask, Values
from feedmill.training.fitting.ngram_models import SEED
from feedmill.training.fitting.trees import fit_trees


@dataclass(frozen=True)
class Expert:
    """A logistic regression on one group of columns.

    Attributes
    ----------
    group
        One of `features.post_batch.GROUPS`.
    regularization_c
        scikit-learn's C, on columns of unit deviation.
    weight
        What it weighs in the blend, where the n-grams weigh 1.
    """

    group: str
    regularization_c: float
    weight: float


@dataclass(frozen=True)
class LinearBlend:
    """Experts that never see each other's columns, each scaled to unit deviation, then added.

    What one expert learns of a data set's habits cannot displace what another knows of spam
    anywhere.  No expert scores below `floor` deviations: finding nothing in a post proves nothing.
    """

    experts: tuple[Expert, ...]
    floor: float = -np.inf

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of columns it reads."""
        return tuple(expert.group for expert in self.experts)


@dataclass(frozen=True)
class BoostedTrees:
    """LightGBM over the views' scores (out of fold) and the columns.

    With `rising`, a higher score of a view never lowers the value.
    """

    groups: tuple[str, ...]
    rounds: int
    leaves: int
    rising: bool = False


def fit_linear_blend(
    blend: LinearBlend,
    ngrams: Values,
    batch: PostBatch,
    labels: Values,
    weights: Values,
    rows: Mask,
) -> ExpertWeights:
    """Fit the experts.

    Parameters
    ----------
    blend
        Which experts.
    ngrams
        (posts, views): the n-gram models' scores of the whole batch.
    batch
        The posts.
    labels, weights
        (posts,) each.
    rows
        (posts,): which posts to learn from.
    """
    expert_weights = [1.0] * ngrams.shape[1] + [expert.weight for expert in blend.experts]
    parts: list[Values] = []
    biases: list[float] = []
    for score in ngrams.T:
        shift, scale = _mean_and_deviation(score[rows])
        parts.append(np.array([1.0 / scale]))
        biases.append(-shift / scale)
    for expert in blend.experts:
        columns = batch.columns(expert.group).astype(np.float64)[rows]
        coefficients, constant = _logistic(
            columns, labels[rows], weights[rows], expert.regularization_c
        )
        shift, scale = _mean_and_deviation(columns @ coefficients + constant)
        parts.append(coefficients * expert.weight / scale)
        biases.append((constant - shift) * expert.weight / scale)
    starts = tuple(accumulate(map(len, parts[:-1]), initial=0))
    column_weights = np.concatenate(parts).astype(np.float32).astype(np.float64)
    floors = blend.floor * np.array(expert_weights)
    return ExpertWeights(column_weights, starts, np.array(biases), floors)


def _mean_and_deviation(scores: Values) -> tuple[float, float]:
    return float(scores.mean()), float(scores.std()) or 1.0


def _logistic(
    columns: Values, labels: Values, weights: Values, regularization_c: float
) -> tuple[Values, float]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 the `train` extra

    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    deviation[deviation == 0] = 1.0
    model = LogisticRegression(C=regularization_c, max_iter=3_000, random_state=SEED)
    model.fit((columns - mean) / deviation, labels > 0.5, sample_weight=weights)
    coefficients = np.asarray(model.coef_[0], dtype=np.float64) / deviation
    return coefficients, float(model.intercept_[0] - coefficients @ mean)


def fit_boosted_trees(
    boosted: BoostedTrees, ngrams: Values, batch: PostBatch, labels: Values, weights: Values
) -> str:
    """Train the trees and return LightGBM's text.

    `ngrams` are the n-gram models' scores out of fold, (posts, views); `labels` and `weights` are
    (posts,) each.
    """
    rows = with_columns(ngrams, boosted.groups, batch)
    views = ngrams.shape[1]
    return fit_trees(
        rows,
        labels,
        weights,
        objective="binary",
        rounds=boosted.rounds,
        leaves=boosted.leaves,
        min_rows=40,
        monotone=[int(column < views) for column in range(rows.shape[1])]
        if boosted.rising
        else None,
    )


def classifier_arrays(classifier: ExpertWeights | str) -> dict[str, npt.NDArray[np.generic]]:
    """Return a classifier as the arrays of an artifact; trees are given as LightGBM's text."""
    if isinstance(classifier, str):
        return {"trees": np.frombuffer(classifier.encode(), dtype=np.uint8)}
    experts = np.stack([classifier.biases, classifier.floors])
    return {"weights": classifier.weights, "experts": experts}


def build_classifier(classifier: ExpertWeights | str) -> ExpertWeights | Trees:
    """Return a classifier as a `FilterModel` evaluates it; trees are given as LightGBM's text."""
    return Trees.parse(classifier) if isinstance(classifier, str) else classifier
