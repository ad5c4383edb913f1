"""Fit a filter's logistic regression: n-grams of every view and the columns of evidence, at once.

Needs the extra `train` (scikit-learn), imported where it is used.  Seeded and single-threaded, so
that the same texts give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.filters.model import Evidence
from feedmill.models.text_model import NgramModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.fitting.group_contrast import group_contrast
from feedmill.training.fitting.ngram_models import (
    SEED,
    WORD_FACTOR,
    count_matrix,
    inverse_frequency,
    quantised,
)

# What a column of unit deviation weighs in the penalty, beside the n-grams' tf-idf.
_COLUMN_SCALE = 0.5


@dataclass(frozen=True)
class LinearModel:
    """An n-gram model for each view, and what each column of evidence weighs."""

    ngram_models: tuple[NgramModel, ...]
    weights: Values
    bias: float


class EvidenceMatrix:
    """The evidence of posts as a sparse matrix, made once and fitted on several choices of rows."""

    def __init__(self, evidence: Evidence, batch: PostBatch) -> None:
        from scipy import sparse  # noqa: PLC0415 the `train` extra

        self._views = []
        for view in evidence.views:
            present = sparse.diags(batch.has_content(view).astype(np.float32))
            texts = batch.view(view)
            counts = count_matrix(texts, WORD_FACTOR, texts.norms)
            self._views.append((present @ counts).tocsr())
        groups = [batch.computed(FEATURE_GROUPS[group].compute) for group in evidence.groups]
        self._columns = np.concatenate([np.zeros((len(batch), 0)), *groups], axis=1)

    def fit(
        self,
        labels: Values,
        weights: Values,
        rows: Mask,
        inverse_penalty: float,
        group_of: npt.NDArray[np.int64] | None = None,
    ) -> LinearModel:
        """Fit on those of the (rows,) chosen rows; `inverse_penalty` is scikit-learn's C.

        With `group_of`, as `group_contrast` reads it, the n-grams of the first view are shrunken
        the less, the more groups agree on them.
        """
        from scipy import sparse  # noqa: PLC0415 the `train` extra
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 the `train` extra

        columns = self._columns[rows]
        mean, deviation = columns.mean(axis=0), columns.std(axis=0)
        scale = _COLUMN_SCALE / np.where(deviation > 0, deviation, np.inf)
        factors = [inverse_frequency(view[rows]) for view in self._views]
        if group_of is not None:
            contrast = group_contrast(self._views[0][rows], labels[rows] > 0.5, group_of[rows])
            factors[0] = (factors[0] * contrast).astype(np.float32)
        parts: list[Any] = [
            view[rows] @ sparse.diags(factor)
            for view, factor in zip(self._views, factors, strict=True)
        ]
        parts.append(sparse.csr_matrix(((columns - mean) * scale).astype(np.float32)))
        model = LogisticRegression(C=inverse_penalty, tol=1e-3, max_iter=150, random_state=SEED)
        model.fit(
            sparse.hstack(parts, format="csr"), labels[rows] > 0.5, sample_weight=weights[rows]
        )
        *of_views, of_columns = np.split(
            model.coef_[0].astype(np.float64), np.cumsum([len(factor) for factor in factors])
        )
        ngram_models = tuple(
            quantised(weight * factor, 0.0, WORD_FACTOR)
            for weight, factor in zip(of_views, factors, strict=True)
        )
        column_weights = of_columns * scale
        bias = float(model.intercept_[0] - column_weights @ mean)
        ones = np.ones(len(ngram_models))
        return LinearModel(ngram_models, np.concatenate([ones, column_weights]), bias)

    def raw_scores(self, model: LinearModel, rows: Mask) -> Values:
        """Return the scores of the chosen rows, as `FilterModel` would: (chosen,)."""
        views = len(self._views)
        scores = self._columns[rows] @ model.weights[views:] + model.bias
        for view, ngrams in zip(self._views, model.ngram_models, strict=True):
            scores = scores + view[rows] @ ngrams.real_weights
        return np.asarray(scores, dtype=np.float64)
