"""Fit the quality ranker: a model of the ratings of each construct, and which one a text is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from feedmill.models.text_model import LinearText, NgramModel, weighted_sum
from feedmill.rankers.quality import (
    Construct,
    QualityModel,
    bounded,
    mean_rating,
    softmax,
    tree_columns,
)
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.fitting.linear_text import (
    RidgePenalties,
    TextRows,
    fit_with_scores,
    score_rows,
    text_rows,
)
from feedmill.training.fitting.ngram_models import (
    fit_logistic,
    fit_ridge,
    folds_of,
    ngram_scores,
    out_of_fold,
)
from feedmill.training.fitting.trees import TreeSettings, fit_correction


class RatedTexts(NamedTuple):
    """The training rows of one construct; `helper` lends scores, see `ConstructRecipe`."""

    name: str
    penalties: RidgePenalties
    posts: LabelledPosts
    helper: LabelledPosts | None


@dataclass(frozen=True)
class FittedQuality:
    """A fitted quality ranker.

    Attributes
    ----------
    constructs, trees
        What people rated, and LightGBM's text or None.
    rows
        How many trained it, by data set.
    unseen
        By data set the mean rating of each rated text, before the trees, by models that had not
        learned its group.
    """

    constructs: tuple[Construct, ...]
    trees: str | None
    rows: dict[str, int]
    unseen: dict[str, Values]


def fit_quality(
    rated: Sequence[RatedTexts], helper_penalty: float, register_c: float, trees: TreeSettings
) -> FittedQuality:
    """Fit each construct on its rated texts, the registers, then the trees; see `QualityRecipe`."""
    rows_of = [_rows(texts.posts) for texts in rated]
    counts: dict[str, int] = {}
    ratings: list[tuple[LinearText, Values]] = []
    for texts, rows in zip(rated, rows_of, strict=True):
        before = []
        counts[texts.posts.source] = len(rows)
        if texts.helper is not None:
            helper = _rows(drop_leaked(texts.helper, [texts.posts]))
            counts[texts.helper.source] = len(helper)
            before = [fit_ridge(helper.matrix, helper.values, helper.weights, helper_penalty)]
        ratings.append(fit_with_scores(rows, texts.penalties, before))
    first = rows_of[0]
    registers = [_fit_register(first, rows, register_c) for rows in rows_of[1:]]
    models = [None, *(register for register, _ in registers)]
    constructs = tuple(
        Construct(texts.name, rating, register)
        for texts, (rating, _), register in zip(rated, ratings, models, strict=True)
    )
    scored = []
    for own, rows in enumerate(rows_of):
        scores = np.stack([score_rows(rating, rows) for rating, _ in ratings])
        scores[own] = ratings[own][1]
        odds = np.zeros((len(rated), len(rows)))
        for other, (register, unlearned) in enumerate(registers, 1):
            if own in {0, other}:
                odds[other] = np.split(unlearned, [len(first)])[int(own == other)]
            else:
                odds[other] = ngram_scores(register, rows.matrix)
        scored.append((bounded(scores), softmax(odds)))
    unseen = {
        texts.posts.source: mean_rating(*of_rows)
        for texts, of_rows in zip(rated, scored, strict=True)
    }
    return FittedQuality(constructs, _fit_trees(rows_of, scored, trees), counts, unseen)


def fit_delta(model: QualityModel, rated: LabelledPosts, penalties: RidgePenalties) -> LinearText:
    """Fit what ratings say beyond a model: the difference, by the text."""
    rest = rated.labels - model.score_many(rated.posts)
    return fit_with_scores(text_rows(rated.texts, rest, rated.groups), penalties)[0]


def with_delta(model: QualityModel, delta: LinearText) -> QualityModel:
    """Return a model whose mean rating of each text is higher by the score of `delta`.

    It is added to the rating of every construct, whose probabilities sum to 1.
    """
    constructs = tuple(
        replace(construct, rating=weighted_sum([construct.rating, delta], [1.0, 1.0]))
        for construct in model.constructs
    )
    return replace(model, version="challenger", constructs=constructs)


def _fit_trees(
    rows_of: Sequence[TextRows],
    scored: Sequence[tuple[Values, Values]],
    settings: TreeSettings,
) -> str | None:
    """Fit what the mean rating leaves unexplained; each construct weighs as much as another.

    `scored` has for each construct the ratings and probabilities of its rows, out of fold.
    """
    columns, rest, weights = [], [], []
    for rows, (ratings, probabilities) in zip(rows_of, scored, strict=True):
        columns.append(tree_columns(ratings, rows.shape))
        rest.append(rows.values - mean_rating(ratings, probabilities))
        weights.append(np.full(len(rows), 1.0 / len(rows)))
    total = np.concatenate(weights)
    return fit_correction(
        np.concatenate(columns),
        np.concatenate(rest),
        total / total.mean(),
        len(rows_of),
        settings,
    )


def _rows(posts: LabelledPosts) -> TextRows:
    return text_rows(posts.texts, posts.labels, posts.groups)


def _fit_register(
    first: TextRows, other: TextRows, regularization_c: float
) -> tuple[NgramModel, Values]:
    """Fit the log-odds that a text is like those of `other`, both counting alike.

    Returns the model, and the log-odds of the rows of both, those of `first` before, by models
    that did not learn from their groups.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    matrix = sparse.vstack([first.matrix, other.matrix], format="csr")
    is_other = np.repeat([0, 1], [len(first), len(other)])
    folds = np.concatenate([folds_of(rows.groups) for rows in (first, other)])

    def fit(kept: Mask) -> NgramModel:
        some = is_other[kept]
        weights = len(some) / 2 / np.bincount(some)[some]
        return fit_logistic(matrix[kept], some, weights, regularization_c)

    unlearned = out_of_fold(folds, lambda kept, out: ngram_scores(fit(kept), matrix[out]))
    return fit(np.ones(len(is_other), dtype=np.bool_)), unlearned
