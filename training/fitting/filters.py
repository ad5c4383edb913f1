"""Fit a filter: a linear model on hashed n-grams, a head over its score and columns of evidence.

A monotone curve then puts the ordinary posts' quantiles at the gates' thresholds.  Seeded: the
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
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.fitting.classifiers import (
    LinearBlend,
    build_classifier,
    classifier_arrays,
    fit_boosted_trees,
    fit_linear_blend,
    fit_slope,
)
from feedmill.training.fitting.stacking import (
    SEED,
    Mask,
    Values,
    count_matrix,
    fit_logistic,
    fixed_calibrator,
    folds_of,
)
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
    """The parts of a trained filter, before it has a name."""

    ngram_models: tuple[NgramModel, ...]
    evidence: Evidence
    head: ExpertWeights | str  # trees as LightGBM's text
    calibrator: Calibrator
    rows: dict[str, int]  # that trained it, by source

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return self.evidence.names

    def content(self, name: str) -> bytes:
        """Return the artifact's bytes."""
        tables = dict(zip(self.evidence.views, self.ngram_models, strict=True))
        arrays = model_arrays(tables, {}, self.calibrator) | classifier_arrays(self.head)
        return pack_artifact({"name": name}, self.features, arrays)

    def model(self, name: str, version: str) -> FilterModel:
        """Return the model these parts make."""
        head = build_classifier(self.head)
        return FilterModel(name, version, self.ngram_models, self.evidence, head, self.calibrator)


def fit(
    recipe: Recipe, labelled: Sequence[LabelledPosts], clean: Sequence[LabelledPosts]
) -> FittedFilter:
    """Train on `labelled`, all of it, and on the ordinary rows' train part; tune on theirs.

    Without ordinary rows (`clean` empty) the thresholds are set on the fine rows of `labelled`.
    """
    negatives = _ordinary_train(clean)
    data = _Rows(recipe, labelled, negatives)
    everything = np.ones(len(data.batch), dtype=np.bool_)
    readers = [_NgramTrainer(table, data) for table in recipe.tables]
    tables = tuple(reader.fit(everything) for reader in readers)
    ngrams = np.stack([r.scores(t) for r, t in zip(readers, tables, strict=True)], axis=1)
    unseen, raw = _out_of_fold(recipe, data, readers)
    head: ExpertWeights | str
    if isinstance(recipe.head, LinearBlend):
        head = fit_linear_blend(
            recipe.head, ngrams, data.batch, data.labels, data.weights, everything
        )
    else:
        head = fit_boosted_trees(recipe.head, unseen, data.batch, data.labels, data.weights)
        raw = build_classifier(head).raw_scores(
            with_columns(unseen, recipe.head.groups, data.batch)
        )
    evidence = Evidence(tuple(table.view for table in recipe.tables), recipe.head.groups)
    counts = {corpus.source: len(corpus) for corpus in (*labelled, *negatives)}
    draft = FittedFilter(tables, evidence, head, Calibrator(np.zeros(1), np.zeros(1)), counts)
    demote, hide = _thresholds(recipe, draft, clean or labelled)
    slope = fit_slope(raw, data.labels, data.weights, demote)
    calibrator = fixed_calibrator(demote, hide, slope, recipe.ceiling)
    return FittedFilter(tables, evidence, head, calibrator, counts)


class _Rows:
    """What one training learns from: posts, labels and weights, of the labelled rows 1 on average.

    So a model's strength means the same, however many ordinary rows stand beside them.
    """

    def __init__(
        self, recipe: Recipe, labelled: Sequence[LabelledPosts], negatives: Sequence[LabelledPosts]
    ) -> None:
        rows = concatenate([*labelled, *negatives])
        self.batch = PostBatch(rows.posts)
        self.labels = np.concatenate(
            [*(c.labels for c in labelled), *(0 * c.labels for c in negatives)]
        )
        self.folds = folds_of(rows.groups)
        self._of_labelled = _labelled_weights(recipe, labelled)
        self._of_ordinary = _ordinary_weights(negatives)
        self.weights = self.weighed(recipe.ordinary_weight)

    def weighed(self, ordinary_weight: float) -> Values:
        """Return what each row weighs, the ordinary ones together so much of the labelled."""
        ordinary = self._of_ordinary * ordinary_weight
        return np.concatenate([self._of_labelled, ordinary]) * len(self._of_labelled)


class _NgramTrainer:
    """One linear table on its view of the rows."""

    def __init__(self, table: NgramRecipe, data: _Rows) -> None:
        self._table = table
        self._data = data
        self._weights = data.weighed(table.ordinary_weight)
        self._says = data.batch.has_content(table.view)

    @cached_property
    def _matrix(self) -> Any:
        return count_matrix(self._data.batch.view(self._table.view), self._table.word_factor)

    def fit(self, rows: Mask) -> NgramModel:
        """Fit on these rows, as far as they have this view."""
        kept = rows & self._says
        labels, table = self._data.labels[kept], self._table
        if not 0 < (labels > 0.5).sum() < len(labels):
            return NgramModel(np.zeros(self._matrix.shape[1], np.int32), 1.0, 0.0)
        return fit_logistic(
            self._matrix[kept], labels, self._weights[kept], table.strength, table.word_factor
        )

    def scores(self, table: NgramModel) -> Values:
        """Return the scores of all rows, 0 where the view is empty."""
        return np.where(self._says, self._matrix @ table.real_weights + table.bias, 0.0)


def _out_of_fold(
    recipe: Recipe, data: _Rows, readers: Sequence[_NgramTrainer]
) -> tuple[Values, Values]:
    """Return views' scores (rows, views) and a blend's raw scores, by fits without each fold."""
    unseen, raw = np.zeros((len(data.batch), len(readers))), np.zeros(len(data.batch))
    for fold in np.unique(data.folds):
        held = data.folds == fold
        ngrams = np.stack([reader.scores(reader.fit(~held)) for reader in readers], axis=1)
        unseen[held] = ngrams[held]
        if isinstance(recipe.head, LinearBlend):
            blend = fit_linear_blend(
                recipe.head, ngrams, data.batch, data.labels, data.weights, ~held
            )
            rows = with_columns(ngrams, recipe.head.groups, data.batch)
            raw[held] = blend.raw_scores(rows[held])
    return unseen, raw


def _ordinary_train(clean: Sequence[LabelledPosts]) -> list[LabelledPosts]:
    share = ORDINARY_ROWS // max(len(clean), 1)
    fine = [c.part("train").where(c.part("train").labels == 0) for c in clean]
    rows = [c.sample(share, SEED) for c in fine]
    return [*rows, *(_cut_short(c.sample(SHORT_ROWS // len(clean), SEED + 1)) for c in fine)]


def _cut_short(rows: LabelledPosts) -> LabelledPosts:
    """Keep the first 0 to 4 words of each text."""
    posts = [
        replace(post, text=" ".join(post.text.split()[: index % 5]))
        for index, post in enumerate(rows.posts)
    ]
    return LabelledPosts(rows.source + _SHORT, posts, rows.labels, rows.groups, rows.parts)


def _labelled_weights(recipe: Recipe, labelled: Sequence[LabelledPosts]) -> Values:
    """Weigh the labelled rows: sets by the recipe, both classes of a set alike; the sum is 1."""
    shares = np.array([source.weight for source in recipe.sources[: len(labelled)]])
    parts = []
    for labels, share in zip((c.labels for c in labelled), shares / shares.sum(), strict=True):
        size = np.array([max((labels == k).sum(), 1) for k in (0, 1)])
        parts.append(share / 2 / size[(labels > 0.5).astype(np.int64)])
    return np.concatenate(parts)


def _ordinary_weights(negatives: Sequence[LabelledPosts]) -> Values:
    """Weigh the ordinary rows: each source alike, its shortened rows a tenth; the sum is 1."""
    shares = [SHORT_WEIGHT if c.source.endswith(_SHORT) else 1.0 for c in negatives]
    parts = [
        np.full(len(c), share / sum(shares) / len(c))
        for c, share in zip(negatives, shares, strict=True)
        if len(c)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _thresholds(
    recipe: Recipe, fitted: FittedFilter, clean: Sequence[LabelledPosts]
) -> tuple[float, float]:
    """Return the raw scores above which at most the recipe's shares of any source lie."""
    model = fitted.model("", "")
    demote, hide = -np.inf, -np.inf
    for source in clean:
        tune = source.part("tune") if (source.parts == "tune").any() else source
        tune = tune.where(tune.labels == 0)
        if not len(tune):
            continue
        raw = model.raw_scores(PostBatch(tune.posts))
        demote = max(demote, float(np.quantile(raw, 1 - recipe.demoted_share)))
        hide = max(hide, float(np.quantile(raw, 1 - recipe.hidden_share)))
    return demote, hide
