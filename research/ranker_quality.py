"""Evaluate quality: whether it orders texts as people rated them, and is their mean rating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from post_ranker import Constant, SeededShuffle
from ranker_figures import (
    RankerEvaluation,
    correlation_figures,
    length_slices,
    mean_figures,
)

from feedmill.features.text.ngrams import TextBatch
from feedmill.models.text_model import NgramModel
from feedmill.models.trees import Trees
from feedmill.rankers.quality import QualityModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.metrics import roc_auc
from feedmill.training.evaluation.plots import Panel
from feedmill.training.evaluation.ranker_metrics import (
    log_loss,
    rate_calibration,
    rate_calibration_error,
)
from feedmill.training.fitting.linear_text import (
    TextRows,
    fit_dense_ridge,
    text_rows,
)
from feedmill.training.fitting.ngram_models import SEED, fit_ridge, folds_of, out_of_fold
from feedmill.training.fitting.quality import RatedTexts, fit_quality
from feedmill.training.ranker_recipes import QUALITY
from feedmill.training.trainers.quality import read_rated

# The trees may cost so much correlation at most: the lower end of the paired difference.
_MOST_LOST = -0.005
# The settings of the plain ridge that quality is compared with.
_RIDGE_PENALTY, _NGRAM_PENALTY = 30.0, 3.0


def evaluate_quality(
    folder: Path, model: QualityModel, evaluation: RankerEvaluation, *, look: bool
) -> None:
    """Add to an evaluation what the rated texts in `folder` say of quality.

    The recipe is evaluated by models trained for it, on all rows with `look`; with it the stored
    model is evaluated on the test rows too.  Raises `UsageError` where a file is missing.
    """
    rated = read_rated(folder, QUALITY)
    if look:
        rated = [
            texts._replace(
                posts=construct.dataset.load(folder),
                helper=construct.helped_by.load(folder) if construct.helped_by else None,
            )
            for texts, construct in zip(rated, QUALITY.constructs, strict=True)
        ]
    _evaluate_folds(rated, evaluation)
    for texts in rated if look else ():
        test = texts.posts.split("test")
        evaluation.rows.append((test.source, len(test)))
        _evaluate_stored(test, model, evaluation)


def _evaluate_folds(rated: list[RatedTexts], evaluation: RankerEvaluation) -> None:
    """Cross-validate the whole recipe, beside a plain ridge of each construct alone."""
    folds = [folds_of(texts.posts.groups, SEED + 1) for texts in rated]
    plain = [np.zeros(len(texts.posts)) for texts in rated]
    for fold in np.unique(folds[0]):
        for index, texts in enumerate(rated):
            out = folds[index] == fold
            train = _without_fold(texts, out)
            plain[index][out] = _plain_ridge(train, texts.posts.where(out))
    found, linear = _cross_validated(rated)
    table = []
    for texts, *scores in zip(rated, found, linear, plain, strict=True):
        truth, source = texts.posts.labels, texts.posts.source
        bootstrap = Bootstrap(texts.posts.groups)
        ours, *others = correlation_figures(bootstrap, scores, truth)
        closer = [np.square(column - truth) for column in scores[:2]]
        squares = mean_figures(bootstrap, [1e3 * (closer[0] - closer[1])])[0]
        table.append(
            (f"{texts.name}, {source}", f"{len(truth):,}", *map(str, (ours, *others, squares)))
        )
        without_trees, ridge = others[2:]
        what = f"Spearman on {source} less that of"
        evaluation.expect(f"{what} the linear mean without trees", without_trees, low=_MOST_LOST)
        evaluation.expect(f"{what} a ridge on shape and n-grams", ridge, least=-0.03, low=-0.03)
    head = ("quality", "without trees", "plain ridge", "less without", "less ridge")
    evaluation.add(
        "The recipe, on groups never trained",
        "Spearman's correlation with the mean rating. The plain ridge knows one construct, and "
        "is not kept to [0, 1]. The last column is the mean squared error with trees less that "
        "without, in thousandths.",
        ("construct", "texts", *head, "squared error"),
        table,
    )


def _cross_validated(rated: Sequence[RatedTexts]) -> tuple[list[Values], list[Values]]:
    """Score the texts of each fold by the recipe, trained on the others.

    Returns for each construct (texts,) scores with trees, and those without.
    """
    folds = [folds_of(texts.posts.groups, SEED + 1) for texts in rated]
    found, linear = ([np.zeros(len(texts.posts)) for texts in rated] for _ in range(2))
    for fold in np.unique(folds[0]):
        train = [
            _without_fold(texts, fold_of == fold)
            for texts, fold_of in zip(rated, folds, strict=True)
        ]
        fitted = fit_quality(train, QUALITY.helper_penalty, QUALITY.register_c, QUALITY.trees)
        without = QualityModel("quality", "", fitted.constructs)
        model = replace(without, trees=Trees.parse(fitted.trees) if fitted.trees else None)
        for index, (texts, fold_of) in enumerate(zip(rated, folds, strict=True)):
            out = fold_of == fold
            batch = TextBatch(texts.posts.where(out).texts)
            found[index][out] = model.score_texts(batch)
            linear[index][out] = without.score_texts(batch)
    return found, linear


def _without_fold(texts: RatedTexts, out: Mask) -> RatedTexts:
    """Return a construct's training texts."""
    held_out = texts.posts.where(out)
    return texts._replace(
        posts=texts.posts.where(~out),
        helper=drop_leaked(texts.helper, [held_out]) if texts.helper else None,
    )


def _plain_ridge(train: RatedTexts, test: LabelledPosts) -> Values:
    """Score by a ridge on shape, out-of-fold n-gram scores, and scores of the helper."""
    rows, new = (text_rows(p.texts, p.labels, p.groups) for p in (train.posts, test))

    def fit(mask: Mask) -> NgramModel:
        return fit_ridge(rows.matrix[mask], rows.values[mask], rows.weights[mask], _NGRAM_PENALTY)

    models = [fit(np.ones(len(rows), dtype=np.bool_))]
    columns = [out_of_fold(fit, rows.matrix, folds_of(train.posts.groups))]
    if train.helper is not None:
        helper = text_rows(train.helper.texts, train.helper.labels, train.helper.groups)
        models.append(fit_ridge(helper.matrix, helper.values, helper.weights, _NGRAM_PENALTY))
        columns.append(_ngram_scores(models[1], rows))
    stacked = np.column_stack([*columns, rows.shape])
    weights, bias = fit_dense_ridge(stacked, rows.values, rows.weights, _RIDGE_PENALTY)
    of_new = np.column_stack([*(_ngram_scores(model, new) for model in models), new.shape])
    return np.asarray(of_new @ weights + bias)


def _ngram_scores(model: NgramModel, rows: TextRows) -> Values:
    return np.asarray(rows.matrix @ model.real_weights + model.bias)


def _evaluate_stored(
    test: LabelledPosts, model: QualityModel, evaluation: RankerEvaluation
) -> None:
    """Evaluate the stored model on test rows, beside baselines."""
    batch = TextBatch(test.texts)
    value = model.score_texts(batch)
    truth = test.labels
    mean = float(truth.mean())
    scores: dict[str, Values] = {"quality": value}
    for name, rating in zip([c.name for c in model.constructs], model.read(batch)[0], strict=True):
        scores[f"as {name} alone"] = rating
    scores["constant"] = Constant(mean).score_posts(test.posts, [])
    scores["seeded shuffle"] = SeededShuffle(SEED).score_posts(test.posts, [])
    figures = correlation_figures(Bootstrap(test.groups), [*scores.values()], truth)
    good, ones = truth > 0.5, np.ones(len(truth))
    table = [
        (
            name,
            str(figure),
            f"{roc_auc(column, good):.3f}",
            f"{log_loss(np.clip(column, 0.01, 0.99), truth, ones):.3f}",
            f"{rate_calibration_error(column, truth, ones):.3f}",
        )
        for (name, column), figure in zip(scores.items(), figures, strict=False)
    ]
    title = f"Stored model, test rows of {test.source}"
    head = ("order", "Spearman", "AUC of above 0.5", "log loss", "calibration error")
    evaluation.add(title, f"{len(test):,} texts.", head, table)
    slices = [
        (name, f"{int(mask.sum()):,}", str(_spearman(test.where(mask), value[mask])))
        for name, mask in length_slices(test.texts)
        if mask.sum() >= 30
    ]
    evaluation.add(f"{test.source} by length", "", ("length", "texts", "Spearman"), slices)
    points = [(mean, rate) for _, mean, rate in rate_calibration(value, truth, ones)]
    panel = Panel(test.source, "quality", "mean rating", points, diagonal=True, dots=True)
    evaluation.panels.append(panel)


def _spearman(posts: LabelledPosts, scores: Values) -> Figure:
    return correlation_figures(Bootstrap(posts.groups), [scores], posts.labels)[0]
