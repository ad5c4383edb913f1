"""Fit the quality ranker: a model of the ratings of each construct, and which one a text is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feedmill.models.text_model import NgramModel
from feedmill.rankers.quality import Construct
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.fitting.linear_text import (
    RidgePenalties,
    TextRows,
    fit_linear_text,
    text_rows,
)
from feedmill.training.fitting.ngram_models import fit_logistic, fit_ridge


class RatedTexts(NamedTuple):
    """The training rows of one construct; `helper` lends scores, see `ConstructRecipe`."""

    name: str
    penalties: RidgePenalties
    posts: LabelledPosts
    helper: LabelledPosts | None


@dataclass(frozen=True)
class FittedQuality:
    """The constructs, and how many rows each data set trained them with."""

    constructs: tuple[Construct, ...]
    rows: dict[str, int]


def fit_quality(
    rated: Sequence[RatedTexts], helper_penalty: float, register_c: float
) -> FittedQuality:
    """Fit each construct on its rated texts, then the registers; see `QualityRecipe`."""
    constructs: list[Construct] = []
    counts: dict[str, int] = {}
    first = _rows(rated[0].posts)
    for texts in rated:
        rows = _rows(texts.posts) if constructs else first
        before = []
        counts[texts.posts.source] = len(rows)
        if texts.helper is not None:
            helper = _rows(drop_leaked(texts.helper, [texts.posts]))
            counts[texts.helper.source] = len(helper)
            before = [fit_ridge(helper.matrix, helper.values, helper.weights, helper_penalty)]
        rating = fit_linear_text(rows, texts.penalties, before)
        register = _fit_register(first, rows, register_c) if constructs else None
        constructs.append(Construct(texts.name, rating, register))
    return FittedQuality(tuple(constructs), counts)


def _rows(posts: LabelledPosts) -> TextRows:
    return text_rows(posts.texts, posts.labels, posts.groups)


def _fit_register(first: TextRows, other: TextRows, regularization_c: float) -> NgramModel:
    """Fit the log-odds that a text is like those of `other`, both counting alike."""
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    matrix = sparse.vstack([first.matrix, other.matrix], format="csr")
    labels = np.repeat([0.0, 1.0], [len(first), len(other)])
    weights = len(labels) / 2 / np.bincount(labels.astype(np.int64))[labels.astype(np.int64)]
    return fit_logistic(matrix, labels, weights, regularization_c)
