"""Fit linear models on hashed n-grams, on all rows or out of fold.

Needs the extra `train` (scikit-learn), imported where it is used.  Seeded and single-threaded, so
that the same texts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.models.text_model import NgramModel
from feedmill.training.arrays import Mask, Values

SEED = 20
FOLDS = 4
_LIMIT = 4095
# How many times a word or a pair of words counts in a filter.
WORD_FACTOR = 3


def count_matrix(batch: TextBatch, word_factor: int = 1, norms: Values | None = None) -> Any:
    """Return the token counts over (rows,) norms: scipy CSR (rows, BUCKETS), float32.

    Words and word pairs count `word_factor` times.  The norms are sqrt(number of tokens) by
    default.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    rows, columns, factors, base = [], [], [], 0
    for chunk in batch.chunks:
        for block in chunk.blocks:
            lengths = block.ends - block.starts
            owner = np.repeat(np.arange(len(chunk), dtype=np.int32), lengths)
            inside = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            rows.append(owner + np.int32(base))
            columns.append(block.tokens[np.repeat(block.starts, lengths) + inside].view(np.int32))
            factor = word_factor if block.words else 1
            factors.append(np.full(len(owner), factor, dtype=np.float32))
        base += len(chunk)
    row, column = np.concatenate(rows), np.concatenate(columns)
    divisors = np.sqrt(batch.token_counts()) if norms is None else norms
    scale = (1.0 / divisors).astype(np.float32)
    values = scale[row] * np.concatenate(factors)
    matrix = sparse.coo_matrix((values, (row, column)), shape=(len(batch), BUCKETS))
    return matrix.tocsr()


def inverse_frequency(matrix: Any) -> npt.NDArray[np.float32]:
    """Return the smoothed inverse document frequency: (columns,), as scikit-learn's tf-idf."""
    rows_with_token = np.bincount(matrix.indices, minlength=matrix.shape[1])
    idf: npt.NDArray[np.float64] = np.log((1 + matrix.shape[0]) / (1 + rows_with_token)) + 1
    return idf.astype(np.float32)


def fit_logistic(
    matrix: Any, labels: Values, weights: Values, regularization_c: float
) -> NgramModel:
    """Fit tf-idf and logistic regression of (rows,) labels, 0 or 1, with scikit-learn's C."""
    from scipy import sparse  # noqa: PLC0415 the `train` extra
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 the `train` extra

    columns, matrix = _used_columns(matrix)
    idf = inverse_frequency(matrix)
    model = LogisticRegression(C=regularization_c, tol=1e-3, random_state=SEED, max_iter=300)
    model.fit(matrix @ sparse.diags(idf), labels, sample_weight=weights)
    return quantised(_at(columns, model.coef_[0] * idf), float(model.intercept_[0]))


def fit_ridge(matrix: Any, values: Values, weights: Values, penalty: float) -> NgramModel:
    """Fit tf-idf and ridge regression of (rows,) real values; `penalty` is scikit-learn's alpha."""
    from scipy import sparse  # noqa: PLC0415 the `train` extra
    from sklearn.linear_model import Ridge  # noqa: PLC0415 the `train` extra

    columns, matrix = _used_columns(matrix)
    idf = inverse_frequency(matrix)
    model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-4)
    model.fit(matrix @ sparse.diags(idf), values, sample_weight=weights)
    found = _at(columns, np.asarray(model.coef_, dtype=np.float64) * idf)
    return quantised(found, float(model.intercept_))


def _used_columns(matrix: Any) -> tuple[npt.NDArray[np.int32], Any]:
    """Return the columns that a row has, and the matrix of these alone: few rows have few."""
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    columns, places = np.unique(matrix.indices, return_inverse=True)
    shape = matrix.shape[0], len(columns)
    return columns, sparse.csr_matrix((matrix.data, places, matrix.indptr), shape=shape)


def _at(columns: npt.NDArray[np.int32], weights: Values) -> Values:
    """Return the weights of some columns among those of all, 0 elsewhere: (BUCKETS,)."""
    of_all = np.zeros(BUCKETS)
    of_all[columns] = weights
    return of_all


def quantised(weights: Values, bias: float, word_factor: int = 1) -> NgramModel:
    """Round (BUCKETS,) weights to whole steps of the largest over 4095."""
    scale = float(np.abs(weights).max()) / _LIMIT or 1.0
    scale = float(np.float32(scale))
    whole = np.clip(np.rint(weights / scale), -_LIMIT, _LIMIT).astype(np.int16)
    return NgramModel(whole, scale, float(np.float32(bias)), word_factor)


def folds_of(
    groups: Sequence[str] | npt.NDArray[np.str_], seed: int = SEED
) -> npt.NDArray[np.int64]:
    """Return a fold in [0, FOLDS) for each row: (rows,); a group is never split."""
    names, group_of = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    return order[group_of]


def out_of_fold(folds: npt.NDArray[np.int64], score: Callable[[Mask, Mask], Values]) -> Values:
    """Score each row by a model that was fitted without the row's fold: (rows,).

    `score` fits on the rows of its first mask, and returns the scores of those of its second.  A
    model above this one learns from such scores: on its own training rows a model is too sure.
    """
    scores = np.zeros(len(folds))
    for fold in np.unique(folds):
        held_out = folds == fold
        scores[held_out] = score(~held_out, held_out)
    return scores


def ngram_scores(model: NgramModel, matrix: Any) -> Values:
    """Return the model's score of each row of a `count_matrix`: (rows,)."""
    return np.asarray(matrix @ model.real_weights + model.bias, dtype=np.float64)
