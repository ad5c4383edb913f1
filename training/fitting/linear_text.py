"""Fit a linear model of texts in two steps: ridge regressions on n-grams, then one on their scores.

The second step learns from scores out of fold, beside the shape of the texts: on its own training
rows an n-gram model is too sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.features.media import MediaKinds
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import shape_matrix
from feedmill.models.text_model import LinearText, NgramModel, quantised
from feedmill.training.arrays import Mask, Values
from feedmill.training.fitting.ngram_models import (
    count_matrix,
    fit_ridge,
    folds_of,
    ngram_scores,
    out_of_fold,
)


@dataclass(frozen=True)
class TextRows:
    """Texts as a fit reads them, each with its target.

    Attributes
    ----------
    matrix, shape
        What `count_matrix` and `shape_matrix` return.
    values, weights
        (rows,): the target, and how much the row weighs.
    groups
        (rows,) texts; folds never divide a group.
    media
        (rows,) the kinds of media; None where all are unknown.
    """

    matrix: Any
    shape: Values
    values: Values
    weights: Values
    groups: npt.NDArray[np.str_]
    media: MediaKinds | None = None

    def __len__(self) -> int:
        return len(self.values)

    def where(self, mask: Mask) -> TextRows:
        """Return the rows where the (rows,) `mask` is true."""
        kept = (self.matrix[mask], self.shape[mask], self.values[mask], self.weights[mask])
        media = None if self.media is None else self.media[mask]
        return TextRows(*kept, self.groups[mask], media)


def text_rows(
    texts: Sequence[str],
    values: Values,
    groups: Sequence[str],
    weights: Values | None = None,
    media: MediaKinds | None = None,
) -> TextRows:
    """Hash texts for a fit; by default all rows weigh alike."""
    batch = TextBatch(texts)
    shape = shape_matrix(batch).astype(np.float64)
    weights = np.ones(len(texts)) if weights is None else weights
    named = np.array(groups, dtype=np.str_)
    return TextRows(count_matrix(batch), shape, values, weights, named, media)


@dataclass(frozen=True)
class RidgePenalties:
    """scikit-learn's alpha of both steps; columns have unit deviation in the second.

    `media` is the alpha of what kinds of media add, in rows; None where they are not read.
    """

    ngrams: float
    stack: float = 30.0
    media: float | None = None


def fit_with_scores(
    rows: TextRows,
    penalties: RidgePenalties,
    learned_before: Sequence[NgramModel] = (),
    *,
    within_groups: bool = False,
) -> tuple[LinearText, Values]:
    """Fit a model that predicts the rows' values, and score them by n-grams out of fold.

    Parameters
    ----------
    rows
        What to learn from; groups are kept together in the folds of the first step.
    penalties
        How much weights are shrunken.
    learned_before
        N-gram models that were trained on other texts and whose scores may help.
    within_groups
        Whether the second step compares rows of one group only.  Values are centred by group then,
        and columns that were not would make the slope too small.

    Returns
    -------
    The model, and (rows,) its scores with the n-grams of each row read by a model that did not
    learn from the row's group: what a model above this one may learn from.
    """

    def fit_ngrams(mask: Mask) -> NgramModel:
        return fit_ridge(rows.matrix[mask], rows.values[mask], rows.weights[mask], penalties.ngrams)

    def unseen(kept: Mask, held_out: Mask) -> Values:
        return ngram_scores(fit_ngrams(kept), rows.matrix[held_out])

    scores = [out_of_fold(folds_of(rows.groups), unseen)]
    scores += [ngram_scores(model, rows.matrix) for model in learned_before]
    columns = np.column_stack([*scores, rows.shape])
    means = group_means(columns, rows.weights, rows.groups) if within_groups else 0.0
    coefficients, bias = fit_dense_ridge(
        columns - means, rows.values, rows.weights, penalties.stack
    )
    of_rows = columns @ coefficients + bias
    models = [fit_ngrams(np.ones(len(rows), dtype=np.bool_)), *learned_before]
    ngrams = np.zeros(len(models[0].weights))
    for model, coefficient in zip(models, coefficients, strict=False):
        ngrams += coefficient * model.real_weights
        bias += coefficient * model.bias
    return LinearText(quantised(ngrams, bias), coefficients[len(models) :]), of_rows


def group_means(
    columns: Values, weights: Values, groups: npt.NDArray[np.str_]
) -> npt.NDArray[np.float64]:
    """Return for each row the weighted means of its group: (rows, columns)."""
    group_of = np.unique(groups, return_inverse=True)[1]
    sums = np.stack([np.bincount(group_of, column * weights) for column in columns.T], axis=1)
    return np.asarray((sums / np.bincount(group_of, weights)[:, None])[group_of])


def fit_dense_ridge(
    columns: Values, values: Values, weights: Values, penalty: float
) -> tuple[Values, float]:
    """Fit a weighted ridge regression on standardised columns.

    Returns
    -------
    The coefficients of the columns as they are, (columns,), and the intercept.
    """
    total = weights.sum()
    means = weights @ columns / total
    deviations = np.sqrt(weights @ (columns - means) ** 2 / total)
    deviations[deviations < 1e-9] = np.inf
    scaled = (columns - means) / deviations
    centre = float(weights @ values / total)
    squares = scaled.T @ (weights[:, None] * scaled) + penalty * np.eye(columns.shape[1])
    coefficients = np.linalg.solve(squares, scaled.T @ (weights * (values - centre))) / deviations
    return coefficients, float(centre - means @ coefficients)


def score_rows(model: LinearText, rows: TextRows) -> Values:
    """Return the model's score of each row: (rows,)."""
    ngrams = ngram_scores(model.ngram_model, rows.matrix)
    return np.asarray(ngrams + rows.shape @ model.shape_weights, dtype=np.float64)
