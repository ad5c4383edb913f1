"""Fit a filter: one logistic regression of n-grams and evidence, and the thresholds above it.

The columns are the n-grams of every view and the evidence, at once.  Needs the extra `train`
(scikit-learn), imported where it is used.  Seeded and single-threaded: the same data give the same
sha256.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import Evidence, FilterModel, LengthCalibrator
from feedmill.models.artifact import pack_artifact
from feedmill.models.text_model import NgramModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.datasets.synthetic_posts import everyday_sentences, long_posts
from feedmill.training.fitting.calibration import (
    RawScores,
    choose_thresholds,
    fit_slope,
    learned_lengths,
    raw_scores,
)
from feedmill.training.fitting.ngram_models import (
    SEED,
    WORD_FACTOR,
    count_matrix,
    folds_of,
    inverse_frequency,
    out_of_fold,
    quantised,
)
from feedmill.training.progress import Tell, silent
from feedmill.training.recipes import Recipe

# So many groups are added to each count, and such a part of the scale is the same for all n-grams.
_SMOOTHING, _PLAIN = 3.0, 0.5

# What a column of unit deviation weighs in the penalty, beside the n-grams' tf-idf.
_COLUMN_SCALE = 0.5
# Of each source of ordinary posts: how many train, how many long and how many cut ones are made of
# them, and what these weigh together where the whole ones weigh 1.
_ORDINARY_ROWS, _LONG_TRAINING_ROWS, _CUT_ROWS = 4_000, 80, 80
_LONG_WEIGHT, _CUT_WEIGHT = 0.5, 0.1
# How many everyday sentences are made, where a recipe gives them a weight.
_EVERYDAY_ROWS = 600
# How many long ones of each source choose thresholds.
_LONG_ROWS = 300
_NOT_PLAIN = re.compile(r"https?://\S+|[@#]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n")


def group_contrast(matrix: Any, violating: Mask, group_of: npt.NDArray[np.int64]) -> Values:
    """Return the scale of each n-gram, 1 in the mean square but for what all share.

    Naive Bayes' log-count ratios scale the columns of a linear model (Wang and Manning 2012).  Here
    a group counts once, however often it says a word: what one large community says is no evidence.

    The number of groups where a violating post has the n-gram is divided by the number that chance
    would give, if violating posts were drawn at random within each group; that of fine posts
    likewise.  The scale grows with the logarithm of the ratio of both.

    Parameters
    ----------
    matrix
        scipy CSR (rows, BUCKETS), positive where a row has the n-gram.
    violating, group_of
        (rows,) each; rows of a negative group do not count.

    Returns
    -------
    (BUCKETS,), all 1 where one class alone counts.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    counted = group_of >= 0
    group = np.unique(group_of[counted], return_inverse=True)[1]
    is_bad = violating[counted]
    if not is_bad.any() or is_bad.all():
        return np.ones(BUCKETS)
    present = (matrix[counted] > 0).astype(np.float32)
    places = (group, np.arange(len(group)))
    member = sparse.csr_matrix((np.ones(len(group), np.float32), places))
    of_all = (member @ present).tocsr()
    of_bad = (member @ present.multiply(is_bad[:, None].astype(np.float32)).tocsr()).tocsr()
    rate = np.bincount(group, is_bad) / np.bincount(group)
    chance = np.repeat(rate, np.diff(of_all.indptr))
    logs, seen = np.zeros(BUCKETS), np.bincount(of_all.indices, minlength=BUCKETS) > 0
    for sign, rates, groups, prior in (
        (1, 1 - chance, of_bad, rate.mean()),
        (-1, chance, of_all - of_bad, 1 - rate.mean()),
    ):
        found = np.bincount(groups.indices, groups.data > 0, minlength=BUCKETS)
        expected = np.bincount(of_all.indices, 1 - rates**of_all.data, minlength=BUCKETS)
        more = _SMOOTHING * prior
        logs += sign * np.log((found + more) / (expected + more))
    contrast = np.where(seen, np.abs(logs), 0.0)
    spread = float(np.sqrt((contrast[seen] ** 2).mean())) or 1.0
    return np.asarray(_PLAIN + (1 - _PLAIN) * contrast / spread)


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


@dataclass(frozen=True)
class FittedFilter:
    """A trained filter without a name.

    Attributes
    ----------
    rows_by_source
        How many rows of each source trained it.
    unseen
        The value of each labelled row by a model of the same recipe that had not learned it.
    """

    unnamed: FilterModel
    rows_by_source: dict[str, int]
    unseen: Values = field(default_factory=lambda: np.zeros(0), compare=False)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return self.unnamed.evidence.names

    def content(self, name: str) -> bytes:
        """Return the artifact's bytes."""
        return pack_artifact({"name": name}, self.features, self.unnamed.arrays())

    def model(
        self, name: str, version: str, believed_self_labels: frozenset[str] = frozenset()
    ) -> FilterModel:
        """Return the model with its name and version."""
        return replace(
            self.unnamed, name=name, version=version, believed_self_labels=believed_self_labels
        )


def fit(
    recipe: Recipe,
    labelled: Sequence[LabelledPosts],
    ordinary: Sequence[LabelledPosts],
    tell: Tell = silent,
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
    tell
        Told how many of the three fits are done.
    """
    fine = [source.where(source.labels == 0) for source in ordinary]
    train = [source.split("train").sample(_ORDINARY_ROWS, SEED) for source in fine]
    negatives = [
        part
        for rows in train
        for part in (rows, long_posts(rows, _LONG_TRAINING_ROWS, SEED), _cut(rows))
    ]
    everyday = everyday_sentences(_EVERYDAY_ROWS if recipe.everyday_weight else 0, SEED)
    plain = [_plain(rows) for rows in labelled] if recipe.plain_copies else []
    rows = concatenate([*labelled, *plain, *negatives, everyday])
    labels = np.concatenate([part.labels for part in (*labelled, *plain, *negatives, everyday)])
    weights = _weights(recipe, labelled, plain, negatives, everyday)
    batch = PostBatch(rows.posts)
    matrix = EvidenceMatrix(recipe.evidence, batch)
    every = np.ones(len(rows), dtype=np.bool_)
    of_labelled = np.arange(len(rows)) < sum(map(len, labelled))
    group_of = _group_of(rows.groups, of_labelled) if recipe.by_group else None

    fits = itertools.count()

    def fit_rows(mask: Mask) -> LinearModel:
        tell(f"fitting {int(mask.sum()):,} rows", next(fits), 3)
        return matrix.fit(labels, weights, mask, recipe.inverse_penalty, group_of)

    linear = fit_rows(every)

    def score(kept: Mask, held_out: Mask) -> Values:
        # Of few groups all violating posts may be in one half.
        can_learn = 0 < (labels[kept] > 0.5).sum() < kept.sum()
        return matrix.raw_scores(fit_rows(kept) if can_learn else linear, held_out)

    unseen = out_of_fold(folds_of(rows.groups) % 2, score)
    draft = _draft(linear, recipe)
    choosing = [raw_scores(draft, rows) for rows in _choosing(fine, labelled)]
    if recipe.fine_rows_choose:
        own = of_labelled & (labels == 0)
        choosing.append(RawScores(unseen[own], batch.characters[own]))
    rates = recipe.max_demote_rate, recipe.max_hide_rate
    slope = fit_slope(unseen, labels, weights)
    learned = learned_lengths(batch.characters[of_labelled & (labels > 0.5)])
    calibrator = choose_thresholds(choosing, slope, rates, recipe.ceiling, learned)
    trained = {part.source: len(part) for part in (*labelled, *train)}
    values = calibrator.value(unseen[of_labelled], batch.characters[of_labelled])
    return FittedFilter(replace(draft, calibrator=calibrator), trained, values)


def _draft(linear: LinearModel, recipe: Recipe) -> FilterModel:
    """Return a filter without a name, whose thresholds are still to be chosen."""
    return FilterModel(
        "",
        "",
        linear.ngram_models,
        recipe.evidence,
        linear.weights,
        linear.bias,
        LengthCalibrator(np.zeros(0, np.int64), np.zeros(1), 1.0, 1.0),
    )


def _group_of(groups: Sequence[str], counted: Mask) -> npt.NDArray[np.int64]:
    """Return a number for the group of each row that is `counted`, -1 for the others: (rows,)."""
    number = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)[1]
    return np.where(counted, number, -1).astype(np.int64)


def _plain(rows: LabelledPosts) -> LabelledPosts:
    """Return the first sentence of each post, without addresses and signs of mentions and tags.

    So a filter does not learn that a headline about a topic is false, where its true posts are
    announcements with links.
    """
    posts = []
    for post in rows.posts:
        text = _SENTENCE_END.split(_NOT_PLAIN.sub("", post.text).strip())[0]
        posts.append(msgspec.structs.replace(post, text=text or post.text))
    return replace(rows, posts=posts)


def _cut(rows: LabelledPosts) -> LabelledPosts:
    """Return some posts with their first 0 to 4 words alone: a short post is not a suspect."""
    some = rows.sample(_CUT_ROWS, SEED + 1)
    posts = [
        msgspec.structs.replace(post, text=" ".join(post.text.split()[: index % 5]))
        for index, post in enumerate(some.posts)
    ]
    return replace(some, posts=posts)


def _choosing(
    fine: Sequence[LabelledPosts], labelled: Sequence[LabelledPosts]
) -> list[LabelledPosts]:
    """Return the fine posts that choose the thresholds, by source, with long ones made of them."""
    chosen = []
    for source in fine or [rows.where(rows.labels == 0) for rows in labelled]:
        validation = source.split("validation")
        rows = validation if len(validation) else source
        if len(rows):
            chosen.append(concatenate([rows, long_posts(rows, _LONG_ROWS, SEED)]))
    return chosen


def _weights(
    recipe: Recipe,
    labelled: Sequence[LabelledPosts],
    plain: Sequence[LabelledPosts],
    negatives: Sequence[LabelledPosts],
    everyday: LabelledPosts,
) -> Values:
    """Weigh the rows, so that regularization means the same however many rows there are.

    The labelled rows weigh 1 on average: data sets by the recipe, both classes of a set alike, and
    where it is `by_group` a group of a class as the root of the group's size.
    Plain copies weigh as much as their rows.  The ordinary rows together weigh
    `recipe.ordinary_weight` times the labelled ones, each source alike: its whole, its long and its
    cut posts.  Everyday sentences together weigh `recipe.everyday_weight` times the labelled ones.

    Returns
    -------
    (rows,)
    """
    share = np.array([dataset.weight for dataset in recipe.datasets[: len(labelled)]])
    total = sum(map(len, labelled))
    parts = []
    for rows, weight in zip(labelled, total * share / share.sum(), strict=True):
        share_of = _shares(rows) if recipe.by_group else np.ones(len(rows))
        is_bad = (rows.labels > 0.5).astype(np.int64)
        of_class = np.maximum(np.bincount(is_bad, share_of, minlength=2), share_of.min(initial=1))
        parts.append(weight / 2 * share_of / of_class[is_bad])
    shares = np.tile([1.0, _LONG_WEIGHT, _CUT_WEIGHT], len(negatives) // 3)
    shares *= [len(rows) > 0 for rows in negatives]
    ordinary = recipe.ordinary_weight * total * shares / max(shares.sum(), 1.0)
    copies = parts if plain else []
    return np.concatenate(
        [
            *parts,
            *copies,
            *(
                np.full(len(rows), weight / max(len(rows), 1))
                for rows, weight in zip(negatives, ordinary, strict=True)
            ),
            np.full(len(everyday), recipe.everyday_weight * total / max(len(everyday), 1)),
        ]
    )


def _shares(rows: LabelledPosts) -> Values:
    """Return what each row weighs, so that a group weighs as the root of its size: (rows,)."""
    group = np.unique(np.asarray(rows.groups, dtype=np.str_), return_inverse=True)[1]
    return np.asarray(np.bincount(group)[group] ** -0.5)
