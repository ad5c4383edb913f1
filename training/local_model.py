"""Fit a stored filter to a product's own labels: its logit, weighed, plus a small delta.

A logistic regression of the stored model's raw score, of the hashed n-grams and of the columns of
evidence, whose weights are drawn to those of the stored model alone.  All three are linear, so the
sum is again a `FilterModel`, and serving does not change.  Needs the extra `train` (scikit-learn),
imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from feedmill.events.errors import UsageError
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.fitting.calibration import (
    LENGTHS,
    choose_thresholds,
    fit_slope,
    raw_scores,
)
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.fitting.ngram_models import (
    count_matrix,
    folds_of,
    inverse_frequency,
    out_of_fold,
    quantised,
)
from feedmill.training.recipes import Recipe

MIN_LABELS, MIN_OF_CLASS = 100, 20
MIN_ORDINARY = 200
# The stored log-odds count in full before the labels, but a deviation of them no more than this:
# on posts of another kind they are too sure.
MAX_PRIOR = 1.5
# What the stored score and a column of evidence weigh in the penalty, each of unit deviation,
# beside the n-grams' tf-idf; and what the loss weighs beside the penalty, as scikit-learn's C.
BASE_SCALE, COLUMN_SCALE, INVERSE_PENALTY = 0.2, 0.3, 10.0
# The view whose n-grams the delta weighs.
_VIEW = "text"


class _Delta(NamedTuple):
    """What is added to the stored model's raw score, which counts `base` times."""

    base: float
    ngrams: Values
    columns: Values
    bias: float


def check_labels(labelled: Sequence[LabelledPosts], ordinary: Sequence[LabelledPosts]) -> None:
    """Check that there are enough labels and ordinary posts; raises `UsageError`."""
    violating = sum(int((rows.labels > 0.5).sum()) for rows in labelled)
    fine = sum(map(len, labelled)) - violating
    if violating + fine < MIN_LABELS or min(violating, fine) < MIN_OF_CLASS:
        raise UsageError(
            f"expected at least {MIN_LABELS} labels to train on, {MIN_OF_CLASS} of each kind, "
            f"found {violating} that violate and {fine} that are fine; rows of the test split do "
            "not count: label more (`feedmill labels sample`)"
        )
    found = sum(map(len, ordinary))
    if found < MIN_ORDINARY:
        raise UsageError(
            f"expected at least {MIN_ORDINARY} ordinary posts of the product, to choose thresholds "
            f"on, found {found}; name a file of them with --ordinary"
        )


def local_parameters(recipe: Recipe) -> dict[str, float]:
    """Return the settings of the fit, as a card states them."""
    return {
        "max_prior": MAX_PRIOR,
        "base_scale": BASE_SCALE,
        "column_scale": COLUMN_SCALE,
        "inverse_penalty": INVERSE_PENALTY,
        "max_demote_rate": recipe.max_demote_rate,
        "max_hide_rate": recipe.max_hide_rate,
        "ceiling": recipe.ceiling,
    }


def fit_local(
    base: FilterModel,
    recipe: Recipe,
    labelled: Sequence[LabelledPosts],
    ordinary: Sequence[LabelledPosts],
) -> FittedFilter:
    """Fit a stored model to labels.

    Parameters
    ----------
    base
        The stored model.
    recipe
        That of the filter: how much of the ordinary posts may be demoted and hidden.
    labelled
        Posts to learn from, all of them.
    ordinary
        The product's own ordinary posts by source; their fine rows choose the thresholds.
    """
    labels = concatenate(labelled)
    trainer = _DeltaTrainer(base, labels)
    # By rows, as few labels may come from few groups: it fits the slope alone.
    folds = folds_of([post.post_id for post in labels.posts])
    unseen = out_of_fold(folds, lambda kept, out: trainer.raw_scores(trainer.fit(kept), out))
    draft = fit_delta(base, labels)
    slope = fit_slope(unseen, labels.labels, trainer.weights)
    choosing = [raw_scores(draft, rows.where(rows.labels == 0)) for rows in ordinary]
    rates = recipe.max_demote_rate, recipe.max_hide_rate
    # The product's own posts stand for themselves, whatever lengths were learned.
    every_length = np.ones(len(LENGTHS) + 1, dtype=np.bool_)
    calibrator = choose_thresholds(choosing, slope, rates, recipe.ceiling, every_length)
    rows = {part.source: len(part) for part in (*labelled, *ordinary)}
    values = calibrator.value(unseen, trainer.batch.characters)
    return FittedFilter(replace(draft, calibrator=calibrator), rows, values)


def fit_delta(base: FilterModel, labels: LabelledPosts) -> FilterModel:
    """Return the stored model with a delta, its thresholds as they were: it only ranks."""
    return _added(base, _DeltaTrainer(base, labels).fit(np.ones(len(labels), dtype=np.bool_)))


class _DeltaTrainer:
    """The labels as a matrix, made once and fitted on several choices of rows."""

    def __init__(self, base: FilterModel, labels: LabelledPosts) -> None:
        self.batch = PostBatch(labels.posts)
        self.violating = labels.labels > 0.5
        # Both classes weigh alike, however many labels either has.
        share = self.violating.mean()
        self.weights = np.where(self.violating, 0.5 / share, 0.5 / (1 - share))
        views = base.evidence.views
        factor = base.ngram_models[views.index(_VIEW)].word_factor
        texts = self.batch.view(_VIEW)
        self._counts = count_matrix(texts, factor, texts.norms)
        self._columns = base.evidence_rows(self.batch)[:, len(views) :]
        self._base = base.raw_scores(self.batch)
        self._slope = base.calibrator.slope

    def fit(self, rows: Mask) -> _Delta:
        """Minimise the log loss and the squared distance from the stored model alone.

        The stored score may not count negatively: labels of a few posts do not prove it wrong.
        """
        from scipy import sparse  # noqa: PLC0415 the `train` extra

        counts = self._counts[rows]
        used = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]))
        frequency = inverse_frequency(counts)[used].astype(np.float64)
        dense = np.concatenate([self._base[:, None], self._columns], axis=1)[rows]
        mean, deviation = dense.mean(axis=0), dense.std(axis=0)
        scale = np.r_[BASE_SCALE, np.full(dense.shape[1] - 1, COLUMN_SCALE)]
        scale = scale / np.where(deviation > 0, deviation, np.inf)
        tfidf = counts[:, used] @ sparse.diags(frequency)
        merged = _merged_columns(tfidf)
        matrix = sparse.hstack(
            [(dense - mean) * scale, np.ones((len(dense), 1)), tfidf @ merged]
        ).tocsr()
        signs = np.where(self.violating[rows], 1.0, -1.0)
        prior = np.zeros(matrix.shape[1])
        prior[0] = min(self._slope * deviation[0], MAX_PRIOR) / BASE_SCALE
        penalty = np.ones(matrix.shape[1])
        penalty[dense.shape[1]] = 0.0  # the bias
        weights = self.weights[rows] * INVERSE_PENALTY
        point = _minimum(matrix, signs, weights, penalty, prior)
        if point[0] < 0:
            # The loss is convex, so its smallest value without negative ones is at 0.
            without_base = matrix[:, 1:], signs, weights, penalty[1:], prior[1:]
            point = np.concatenate([[0.0], _minimum(*without_base)])
        of_dense, (bias,), of_merged = np.split(point, [dense.shape[1], dense.shape[1] + 1])
        of_dense = of_dense * scale
        ngrams = np.zeros(counts.shape[1])
        ngrams[used] = merged @ of_merged * frequency
        return _Delta(float(of_dense[0]), ngrams, of_dense[1:], float(bias - of_dense @ mean))

    def raw_scores(self, delta: _Delta, rows: Mask) -> Values:
        """Return what the model with the delta gives to the chosen rows: (chosen,)."""
        added = self._counts[rows] @ delta.ngrams + self._columns[rows] @ delta.columns
        return np.asarray(self._base[rows] * delta.base + added + delta.bias, np.float64)


def _merged_columns(matrix: Any) -> Any:
    """Return orthonormal columns that all rows are sums of: scipy CSR, (columns, fewer columns).

    What one row alone has, most n-grams of a few hundred posts, is merged into one column of that
    row.  Weights with a common penalty are the same in them, and a fit takes half the time.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    by_column = matrix.tocsc()
    is_own = np.diff(by_column.indptr) == 1
    places = by_column.indptr[:-1][is_own]
    owners, values = by_column.indices[places], by_column.data[places]
    lengths = np.sqrt(np.bincount(owners, values**2, minlength=matrix.shape[0]))
    shape = matrix.shape[::-1]
    own = sparse.csr_matrix((values / lengths[owners], (np.flatnonzero(is_own), owners)), shape)
    shared = sparse.identity(shape[0], format="csc")[:, ~is_own]
    return sparse.hstack([shared, own]).tocsr()


def _minimum(matrix: Any, signs: Values, weights: Values, penalty: Values, prior: Values) -> Values:
    """Minimise the weighed log loss and the squared distance from the prior: (columns,).

    Without bounds, on which L-BFGS-B spends most of its time with so many columns.

    Parameters
    ----------
    matrix
        (rows, columns), scipy CSR.
    signs, weights
        (rows,): 1 violates, -1 does not; what a row's loss weighs.
    penalty, prior
        (columns,): how much a distance weighs, and from where it counts.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 the `train` extra

    transposed = matrix.T.tocsr()

    def loss(point: Values) -> tuple[float, Values]:
        margins, moved = signs * (matrix @ point), penalty * (point - prior)
        pull = weights * signs / (1.0 + np.exp(np.minimum(margins, 500.0)))
        value = weights @ np.logaddexp(0.0, -margins) + moved @ (point - prior) / 2
        return float(value), moved - transposed @ pull

    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B").x, np.float64)


def _added(base: FilterModel, delta: _Delta) -> FilterModel:
    """Return the stored model with the delta, as one model."""
    views = base.evidence.views
    ngram_models = []
    for view, old in zip(views, base.ngram_models, strict=True):
        scaled = replace(old, scale=old.scale * delta.base, bias=old.bias * delta.base)
        if view == _VIEW:
            scaled = quantised(scaled.real_weights + delta.ngrams, scaled.bias, old.word_factor)
        ngram_models.append(scaled)
    weights = np.concatenate(
        [base.weights[: len(views)], base.weights[len(views) :] * delta.base + delta.columns]
    )
    bias = base.bias * delta.base + delta.bias
    return replace(base, ngram_models=tuple(ngram_models), weights=weights, bias=bias)
