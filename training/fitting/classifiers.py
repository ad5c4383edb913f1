"""What weighs a filter's evidence: a blend of linear experts, or boosted trees, and its fitting.

The decision between them, and the figures behind it, stand in
`docs/decisions/0013-what-the-filters-read.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import ExpertWeights, with_columns
from feedmill.models.trees import Trees
from feedmill.training.fitting.stacking import SEED, Mask, Values, fit_trees


@dataclass(frozen=True)
class Expert:
    """A logistic regression on one group of columns.

    `strength` is scikit-learn's C on columns of unit deviation, `weight` its share in the blend,
    where the n-grams' share is 1.
    """

    group: str
    strength: float
    weight: float


@dataclass(frozen=True)
class LinearBlend:
    """Experts that never see each other's columns, each brought to unit deviation, then added.

    What one learns of a set's habits cannot push aside what another knows of spam anywhere.  No
    expert says less than `floor` deviations: that it knows nothing of a post proves nothing.
    """

    experts: tuple[Expert, ...]
    floor: float = -np.inf

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of columns the head reads."""
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
    """Fit the experts on `rows`; `ngrams` (posts, views) are the scores of all of the batch."""
    shares = [1.0] * ngrams.shape[1] + [expert.weight for expert in blend.experts]
    parts: list[Values] = []
    biases: list[float] = []
    for score in ngrams.T:
        shift, scale = _deviation(score[rows])
        parts.append(np.array([1.0 / scale]))
        biases.append(-shift / scale)
    for expert in blend.experts:
        columns = batch.columns(expert.group).astype(np.float64)[rows]
        coefficients, constant = _logistic(columns, labels[rows], weights[rows], expert.strength)
        shift, scale = _deviation(columns @ coefficients + constant)
        parts.append(coefficients * expert.weight / scale)
        biases.append((constant - shift) * expert.weight / scale)
    starts = tuple(accumulate(map(len, parts[:-1]), initial=0))
    weighed = np.concatenate(parts).astype(np.float32).astype(np.float64)
    return ExpertWeights(weighed, starts, np.array(biases), blend.floor * np.array(shares))


def _deviation(scores: Values) -> tuple[float, float]:
    return float(scores.mean()), float(scores.std()) or 1.0


def _logistic(
    columns: Values, labels: Values, weights: Values, strength: float
) -> tuple[Values, float]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 the `train` extra

    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    deviation[deviation == 0] = 1.0
    model = LogisticRegression(C=strength, max_iter=3_000, random_state=SEED)
    model.fit((columns - mean) / deviation, labels > 0.5, sample_weight=weights)
    coefficients = np.asarray(model.coef_[0], dtype=np.float64) / deviation
    return coefficients, float(model.intercept_[0] - coefficients @ mean)


def fit_boosted_trees(
    boosted: BoostedTrees, ngrams: Values, batch: PostBatch, labels: Values, weights: Values
) -> str:
    """Train the trees; `ngrams` (posts, views) are scores out of fold.  Returns LightGBM's text."""
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


def classifier_arrays(head: ExpertWeights | str) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays an artifact holds of a head; trees are LightGBM's text."""
    if isinstance(head, str):
        return {"trees": np.frombuffer(head.encode(), dtype=np.uint8)}
    return {"weights": head.weights, "experts": np.stack([head.biases, head.floors])}


def build_classifier(head: ExpertWeights | str) -> ExpertWeights | Trees:
    """Return the head as the model evaluates it."""
    return Trees.parse(head) if isinstance(head, str) else head


def fit_slope(raw: Sequence[float] | Values, labels: Values, weights: Values, at: float) -> float:
    """Return how steeply the log-odds should fall below the raw score `at`, where they are 0.6's.

    The one of a few slopes that gives the rows below `at` the least weighted log-loss.
    """
    scores = np.asarray(raw, dtype=np.float64)
    below = scores < at
    gap, bad, share = at - scores[below], labels[below] > 0.5, weights[below]
    slopes = np.geomspace(0.1, 10.0, 41)
    losses = []
    for slope in slopes:
        odds = np.log(0.6 / 0.4) - slope * gap
        losses.append(float((share * np.logaddexp(0.0, np.where(bad, -odds, odds))).sum()))
    return float(slopes[int(np.argmin(losses))])
