"""Fit a filter: linear model on hashed n-grams, LightGBM over its out-of-fold score and the shape.

A monotone curve then puts the ordinary posts' quantiles at the gates' thresholds.  Seeded: the
same data give the same sha256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from feedmill.features.artifact import pack
from feedmill.features.corpus import Corpus, join
from feedmill.features.fitting import (
    SEED,
    Mask,
    Values,
    count_matrix,
    fit_logistic,
    fit_trees,
    fixed_curve,
    folds_of,
    out_of_fold,
    stacked_rows,
)
from feedmill.features.model import (
    Curve,
    LinearTable,
    StackedText,
    arrays_of,
    feature_names,
    stack,
)
from feedmill.features.text import TextBatch
from feedmill.features.trees import Trees
from feedmill.filters.recipes import (
    ORDINARY_ROWS,
    ORDINARY_USE,
    SHORT_ROWS,
    Recipe,
)

TABLES = ("text",)
_SLOPE = 1.0


@dataclass(frozen=True)
class Fitted:
    """The parts of a trained filter, before it has a name."""

    table: LinearTable
    trees: str
    curve: Curve
    rows: dict[str, int]

    def content(self, name: str) -> bytes:
        """Return the artifact's bytes."""
        arrays = arrays_of({"text": self.table}, {"trees": self.trees}, self.curve)
        return pack({"name": name}, feature_names(TABLES), arrays)

    def model(self, name: str, version: str) -> StackedText:
        """Return the model these parts make."""
        return StackedText(name, version, (self.table,), Trees.parse(self.trees), self.curve)


def fit(recipe: Recipe, labelled: Sequence[Corpus], clean: Sequence[Corpus]) -> Fitted:
    """Train on `labelled`, all of it, and on the ordinary rows' train part; tune on theirs."""
    negatives = _ordinary_train(clean)
    rows = join([*labelled, *negatives])
    weights = _weights(recipe, labelled, negatives)
    violates = np.concatenate([*(c.labels for c in labelled), *(0 * c.labels for c in negatives)])
    batch = TextBatch(rows.texts)
    matrix = count_matrix(batch)

    def fit_table(mask: Mask) -> LinearTable:
        return fit_logistic(matrix[mask], violates[mask], weights[mask], recipe.strength)

    scores = out_of_fold(fit_table, matrix, folds_of(rows.groups))
    trees = fit_trees(
        stacked_rows([scores], batch),
        violates,
        weights,
        objective="binary",
        rounds=recipe.rounds,
        leaves=recipe.leaves,
        min_rows=40,
    )
    table = fit_table(np.ones(len(rows), dtype=np.bool_))
    counts = _row_counts(recipe, labelled, negatives)
    return Fitted(table, trees, _curve(recipe, table, trees, clean), counts)


def _row_counts(
    recipe: Recipe, labelled: Sequence[Corpus], negatives: Sequence[Corpus]
) -> dict[str, int]:
    files = [*(s.file for s in recipe.sources), *(file for file, _ in ORDINARY_USE)]
    return dict(zip(files, map(len, [*labelled, *negatives]), strict=False))


def _ordinary_train(clean: Sequence[Corpus]) -> list[Corpus]:
    share = ORDINARY_ROWS // max(len(clean), 1)
    fine = [c.part("train").where(c.part("train").labels == 0) for c in clean]
    rows = [c.sample(share, SEED) for c in fine]
    return [*rows, *(_cut_short(c.sample(SHORT_ROWS // len(clean), SEED + 1)) for c in fine)]


def _cut_short(rows: Corpus) -> Corpus:
    """Keep the first 0 to 4 words of each text."""
    posts = [
        replace(post, text=" ".join(post.text.split()[: index % 5]))
        for index, post in enumerate(rows.posts)
    ]
    return Corpus(f"{rows.source}_short", posts, rows.labels, rows.groups, rows.parts)


def _weights(recipe: Recipe, labelled: Sequence[Corpus], negatives: Sequence[Corpus]) -> Values:
    """Weigh rows: both classes of a labelled set alike, the ordinary rows together a share."""
    total = float(sum(len(c) * s.weight for c, s in zip(labelled, recipe.sources, strict=False)))
    parts = []
    for labels, source in zip((c.labels for c in labelled), recipe.sources, strict=False):
        share = np.array([max((labels == k).sum(), 1) for k in (0, 1)])
        parts.append(source.weight * len(labels) / 2 / share[labels.astype(np.int64)])
    count = max(sum(map(len, negatives)), 1)
    parts += [np.full(len(c), recipe.ordinary_weight * total / count) for c in negatives]
    weights = np.concatenate(parts)
    return np.asarray(weights * len(weights) / weights.sum(), dtype=np.float64)


def _curve(recipe: Recipe, table: LinearTable, trees: str, clean: Sequence[Corpus]) -> Curve:
    """Put the thresholds where at most the recipe's share of any ordinary source lies above."""
    forest = Trees.parse(trees)
    demote, hide = -np.inf, -np.inf
    for source in clean:
        tune = source.part("tune")
        tune = tune.where(tune.labels == 0)
        raw = forest.raw_scores(stack((table,), TextBatch(tune.texts)))
        demote = max(demote, float(np.quantile(raw, 1 - recipe.demoted_share)))
        hide = max(hide, float(np.quantile(raw, 1 - recipe.hidden_share)))
    return fixed_curve(demote, hide, _SLOPE, recipe.ceiling)
