"""Fit a filter: n-gram models, a classifier above them and the columns of evidence, a calibrator.

The calibrator puts quantiles of the ordinary posts at the gates' default thresholds.  Seeded: the
same data give the same sha256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from msgspec.structs import replace

from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import Evidence, ExpertWeights, FilterModel, with_columns
from feedmill.models.artifact import pack_artifact
from feedmill.models.text_model import Calibrator, NgramModel, model_arrays
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.fitting.calibration import fit_slope, fixed_calibrator
from feedmill.training.fitting.classifiers import (
    LinearBlend,
    build_classifier,
    classifier_arrays,
    fit_boosted_trees,
    fit_linear_blend,
)
from feedmill.training.fitting.ngram_models import SEED, count_matrix, fit_logistic, folds_of
from feedmill.training.recipes import (
    ORDINARY_ROWS,
    SHORT_ROWS,
    SHORT_WEIGHT,
    NgramRecipe,
    Recipe,
)

_SHORT = " (shortened)"


@dataclass(frozen=True)
class FittedFilter:
    """The parts of a trained filter, before it has a name.

    Attributes
    ----------
    classifier
        Trees are LightGBM's text.
    rows_by_source
        How many rows of each source it was trained on.
    """

    ngram_models: tuple[NgramModel, ...]
    evidence: Evidence
    classifier: ExpertWeights | str
    calibrator: Calibrator
    rows_by_source: dict[str, int]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return self.evidence.names

    def content(self, name: str) -> bytes:
        """Return the artifact's bytes."""
        ngram_models = dict(zip(self.evidence.views, self.ngram_models, strict=True))
        arrays = model_arrays(ngram_models, {}, self.calibrator) | classifier_arrays(
            self.classifier
        )
        return pack_artifact({"name": name}, self.features, arrays)

    def model(
        self, name: str, version: str, believed_self_labels: frozenset[str] = frozenset()
    ) -> FilterModel:
        """Return the model of these parts."""
        return FilterModel(
            name,
            version,
            self.ngram_models,
            self.evidence,
            build_classifier(self.classifier),
            self.calibrator,
            believed_self_labels,
        )


def fit(
    recipe: Recipe, labelled: Sequence[LabelledPosts], ordinary: Sequence[LabelledPosts]
) -> FittedFilter:
    """Train a filter.

    Parameters
    ----------
    recipe
        How to train.
    labelled
        Posts to learn from, all of them, in the order of the recipe's data sets.
    ordinary
        Posts of which those of the split `train` teach what is fine, and those of `validation`
        choose the thresholds.  Without any, all fine rows of `labelled` choose them.
    """
    negatives = _ordinary_train(ordinary)
    data = _TrainingRows(recipe, labelled, negatives)
    all_rows = np.ones(len(data.batch), dtype=np.bool_)
    trainers = [_NgramTrainer(model, data) for model in recipe.ngram_models]
    ngram_models = tuple(trainer.fit(all_rows) for trainer in trainers)
    unseen, raw = _out_of_fold(recipe, data, trainers)
    classifier: ExpertWeights | str
    if isinstance(recipe.classifier, LinearBlend):
        ngrams = _view_scores(trainers, ngram_models)
        classifier = fit_linear_blend(
            recipe.classifier, ngrams, data.batch, data.labels, data.weights, all_rows
        )
    else:
        classifier = fit_boosted_trees(
            recipe.classifier, unseen, data.batch, data.labels, data.weights
        )
        raw = build_classifier(classifier).raw_scores(
            with_columns(unseen, recipe.classifier.groups, data.batch)
        )
    rows_by_source = {rows.source: len(rows) for rows in (*labelled, *negatives)}
    uncalibrated = Calibrator(np.zeros(1), np.zeros(1))
    draft = FittedFilter(ngram_models, recipe.evidence, classifier, uncalibrated, rows_by_source)
    demote, hide = _thresholds(recipe, draft, ordinary or labelled)
    slope = fit_slope(raw, data.labels, data.weights, demote)
    calibrator = fixed_calibrator(demote, hide, slope, recipe.ceiling)
    return FittedFilter(ngram_models, recipe.evidence, classifier, calibrator, rows_by_source)


class _TrainingRows:
    """What one training learns from: posts, labels, and weights that are 1 on average if labelled.

    So regularization means the same, however many ordinary rows stand beside the labelled ones.
    """

    def __init__(
        self, recipe: Recipe, labelled: Sequence[LabelledPosts], negatives: Sequence[LabelledPosts]
    ) -> None:
        rows = concatenate([*labelled, *negatives])
        self.batch = PostBatch(rows.posts)
        self.labels = np.concatenate(
            [*(rows.labels for rows in labelled), *(0 * rows.labels for rows in negatives)]
        )
        self.folds = folds_of(rows.groups)
        self._labelled_weights = _labelled_weights(recipe, labelled)
        self._ordinary_weights = _ordinary_weights(negatives)
        self.weights = self.weighted(recipe.ordinary_weight)

    def weighted(self, ordinary_weight: float) -> Values:
        """Return (rows,) weights; the ordinary rows weigh so many times the labelled rows."""
        ordinary = self._ordinary_weights * ordinary_weight
        return np.concatenate([self._labelled_weights, ordinary]) * len(self._labelled_weights)


class _NgramTrainer:
    """Fits the n-gram model of one view."""

    def __init__(self, recipe: NgramRecipe, data: _TrainingRows) -> None:
        self._recipe = recipe
        self._data = data
        self._weights = data.weighted(recipe.ordinary_weight)
        self._has_view = data.batch.has_content(recipe.view)

    @cached_property
    def _matrix(self) -> Any:
        return count_matrix(self._data.batch.view(self._recipe.view), self._recipe.word_factor)

    def fit(self, rows: Mask) -> NgramModel:
        """Fit on those of the (rows,) chosen rows that have this view."""
        kept = rows & self._has_view
        labels, recipe = self._data.labels[kept], self._recipe
        if not 0 < (labels > 0.5).sum() < len(labels):
            return NgramModel(np.zeros(self._matrix.shape[1], np.int32), 1.0, 0.0)
        return fit_logistic(
            self._matrix[kept],
            labels,
            self._weights[kept],
            recipe.regularization_c,
            recipe.word_factor,
        )

    def scores(self, model: NgramModel) -> Values:
        """Return the scores of all rows: (rows,), 0 where the view is empty."""
        return np.where(self._has_view, self._matrix @ model.real_weights + model.bias, 0.0)


def _view_scores(trainers: Sequence[_NgramTrainer], models: Sequence[NgramModel]) -> Values:
    """Return (rows, views)."""
    pairs = zip(trainers, models, strict=True)
    return np.stack([trainer.scores(model) for trainer, model in pairs], axis=1)


def _out_of_fold(
    recipe: Recipe, data: _TrainingRows, trainers: Sequence[_NgramTrainer]
) -> tuple[Values, Values]:
    """Score each row by models that were fitted without its fold.

    Returns
    -------
    The views' scores, (rows, views), and a linear blend's raw scores, (rows,).
    """
    unseen, raw = np.zeros((len(data.batch), len(trainers))), np.zeros(len(data.batch))
    for fold in np.unique(data.folds):
        held_out = data.folds == fold
        ngrams = _view_scores(trainers, [trainer.fit(~held_out) for trainer in trainers])
        unseen[held_out] = ngrams[held_out]
        if isinstance(recipe.classifier, LinearBlend):
            blend = fit_linear_blend(
                recipe.classifier, ngrams, data.batch, data.labels, data.weights, ~held_out
            )
            rows = with_columns(ngrams, recipe.classifier.groups, data.batch)
            raw[held_out] = blend.raw_scores(rows[held_out])
    return unseen, raw


def _ordinary_train(ordinary: Sequence[LabelledPosts]) -> list[LabelledPosts]:
    """Return the fine training rows of each source, then some of them shortened."""
    rows_per_source = ORDINARY_ROWS // max(len(ordinary), 1)
    train = [source.split("train") for source in ordinary]
    fine = [source.where(source.labels == 0) for source in train]
    rows = [source.sample(rows_per_source, SEED) for source in fine]
    short_rows = [source.sample(SHORT_ROWS // len(ordinary), SEED + 1) for source in fine]
    return [*rows, *map(_shortened, short_rows)]


def _shortened(rows: LabelledPosts) -> LabelledPosts:
    """Keep the first 0 to 4 words of each text."""
    posts = [
        replace(post, text=" ".join(post.text.split()[: index % 5]))
        for index, post in enumerate(rows.posts)
    ]
    return LabelledPosts(rows.source + _SHORT, posts, rows.labels, rows.groups, rows.splits)


def _labelled_weights(recipe: Recipe, labelled: Sequence[LabelledPosts]) -> Values:
    """Weigh the labelled rows: data sets by the recipe, both classes of a set alike; the sum is 1.

    Returns
    -------
    (labelled rows,)
    """
    weights = np.array([dataset.weight for dataset in recipe.datasets[: len(labelled)]])
    parts = []
    for rows, weight in zip(labelled, weights / weights.sum(), strict=True):
        sizes = np.array([max((rows.labels == k).sum(), 1) for k in (0, 1)])
        parts.append(weight / 2 / sizes[(rows.labels > 0.5).astype(np.int64)])
    return np.concatenate(parts)


def _ordinary_weights(negatives: Sequence[LabelledPosts]) -> Values:
    """Weigh the ordinary rows: each source alike, its shortened rows a tenth; the sum is 1.

    Returns
    -------
    (ordinary rows,)
    """
    weights = [SHORT_WEIGHT if rows.source.endswith(_SHORT) else 1.0 for rows in negatives]
    parts = [
        np.full(len(rows), weight / sum(weights) / len(rows))
        for rows, weight in zip(negatives, weights, strict=True)
        if len(rows)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _thresholds(
    recipe: Recipe, fitted: FittedFilter, sources: Sequence[LabelledPosts]
) -> tuple[float, float]:
    """Return the raw scores to demote and to hide from.

    At most the recipe's rates of the fine validation rows of any source lie above them; all fine
    rows of a source count that has no validation rows.
    """
    model = fitted.model("", "")
    demote, hide = -np.inf, -np.inf
    for source in sources:
        has_validation = (source.splits == "validation").any()
        rows = source.split("validation") if has_validation else source
        fine = rows.where(rows.labels == 0)
        if not len(fine):
            continue
        raw = model.raw_scores(PostBatch(fine.posts))
        demote = max(demote, float(np.quantile(raw, 1 - recipe.max_demote_rate)))
        hide = max(hide, float(np.quantile(raw, 1 - recipe.max_hide_rate)))
    return demote, hide
