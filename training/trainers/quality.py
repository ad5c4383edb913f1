"""Train quality: the fraction of ordinary posts that a text reads better than, in [0, 1].

Two linear models on hashed n-grams (clickbait, helpful answers), LightGBM over their out-of-fold
scores and the text's shape.  Targets are centred within their set: otherwise the trees would learn
to tell the sets apart, and call every headline good and every comment bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import DataUse, ModelCard, pack_artifact, save_artifact, sha256_of
from feedmill.models.text_model import (
    Calibrator,
    NgramModel,
    StackedTextModel,
    model_arrays,
    stacked_matrix,
)
from feedmill.models.trees import Trees
from feedmill.rankers.quality import FEATURES, NGRAM_MODELS
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.known import read_ordinary
from feedmill.training.datasets.labelled_posts import (
    LabelledPosts,
    LabelledRow,
    concatenate,
    labelled_posts,
    opening_words,
    read_csv_rows,
)
from feedmill.training.evaluation.metrics import rank_correlation, roc_auc
from feedmill.training.fitting.ngram_models import (
    count_matrix,
    fit_logistic,
    folds_of,
    out_of_fold,
)
from feedmill.training.fitting.trees import fit_trees, stacked_rows

_GRADES = {"Good": 1.0, "PotentiallyUseful": 0.5, "Bad": 0.0}
_CLICKBAIT, _WEBIS, _ANSWERS = range(3)
_WEIGHTS = (0.4, 0.3, 0.3)  # of the three sets, in the trees


def read_datasets(folder: Path) -> list[LabelledPosts]:
    """Read the three data sets, the quality in [0, 1] as label; raises `UsageError`."""
    answers = read_csv_rows(folder, "quality_semeval_cqa")
    return [
        labelled_posts(
            "clickbait32k", "clickbait", _headlines(folder, "quality_clickbait32k", "label")
        ),
        labelled_posts(
            "webis", "clickbait", _headlines(folder, "quality_webis_clickbait17", "truth_mean")
        ),
        labelled_posts(
            "semeval",
            "semeval",
            (LabelledRow(r["text"], _GRADES[r["rating"]], r["question_id"]) for r in answers),
        ),
    ]


def _headlines(folder: Path, name: str, clickbait: str) -> Iterator[LabelledRow]:
    """Yield the headlines of a file; the column `clickbait` is 1 minus the quality."""
    for row in read_csv_rows(folder, name):
        yield LabelledRow(row["text"], 1 - float(row[clickbait]), opening_words(row["text"]))


def train(folder: Path, out: Path, day: str) -> ModelCard:
    """Train and evaluate the quality ranker, and save it into the store `out`.

    `folder` holds the data sets, `day` is what the card states.  Raises `UsageError` where a file
    is missing.
    """
    datasets = read_datasets(folder)
    ordinary_posts = read_ordinary(folder)
    train_rows = [rows.without_test() for rows in datasets]
    ngram_models, trees = _fit(train_rows)
    calibrator = _fit_calibrator(ngram_models, trees, ordinary_posts)
    by_name = dict(zip(NGRAM_MODELS, ngram_models, strict=True))
    content = pack_artifact(
        {"name": "quality"}, FEATURES, model_arrays(by_name, {"trees": trees}, calibrator)
    )
    digest = sha256_of(content)
    model = StackedTextModel("quality", digest[:12], ngram_models, Trees.parse(trees), calibrator)
    card = _card(digest, day, [len(rows) for rows in train_rows], _evaluate(model, datasets))
    save_artifact(out, card, content)
    return card


def _fit(train_rows: list[LabelledPosts]) -> tuple[tuple[NgramModel, NgramModel], str]:
    """Return the n-gram models and the trees, as LightGBM's text."""
    rows = concatenate(train_rows)
    dataset_of = np.repeat(np.arange(len(train_rows)), [len(part) for part in train_rows])
    batch = TextBatch(rows.texts)
    matrix = count_matrix(batch)
    # Webis' five ratings are worth more than a publisher's name.
    emphasis = np.where(dataset_of == _WEBIS, 4.0, 1.0)

    def clickbait(mask: Mask) -> NgramModel:
        weights = np.where(mask & (dataset_of != _ANSWERS), emphasis, 0.0)
        return fit_logistic(matrix, 1 - rows.labels, weights, 10.0)

    def answer(mask: Mask) -> NgramModel:
        return fit_logistic(matrix, rows.labels, 1.0 * (mask & (dataset_of == _ANSWERS)), 3.0)

    folds = folds_of(rows.groups)
    scores = [out_of_fold(fit, matrix, folds) for fit in (clickbait, answer)]
    trees = fit_trees(
        stacked_rows(scores, batch),
        np.concatenate([_centred(part.labels) for part in train_rows]),
        np.array(_WEIGHTS)[dataset_of] * len(rows) / np.bincount(dataset_of)[dataset_of],
        objective="cross_entropy",
        rounds=80,
        leaves=10,
        min_rows=60,
    )
    all_rows = np.ones(len(rows), dtype=np.bool_)
    return (clickbait(all_rows), answer(all_rows)), trees


def _centred(labels: Values) -> Values:
    """Return each label's mid-rank within its set, in (0, 1), so that the mean is one half."""
    values, counts = np.unique(labels, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(labels)
    return np.asarray(middle[np.searchsorted(values, labels)], dtype=np.float64)


def _fit_calibrator(
    ngram_models: tuple[NgramModel, ...], trees: str, ordinary_posts: list[LabelledPosts]
) -> Calibrator:
    """Map raw scores to the fraction of ordinary posts below, each source counting alike."""
    forest = Trees.parse(trees)
    fractions = np.linspace(0.02, 0.98, 25)
    knots = []
    for source in ordinary_posts:
        batch = TextBatch(source.split("validation").texts)
        knots.append(np.quantile(forest.raw_scores(stacked_matrix(ngram_models, batch)), fractions))
    raw = np.maximum.accumulate(np.mean(knots, axis=0) + np.arange(len(fractions)) * 1e-9)
    odds = np.log(fractions / (1 - fractions))
    # Beyond the outer knots the value still moves, by one log-odd per unit of raw score.
    raw = np.concatenate([[raw[0] - 4], raw, [raw[-1] + 4]])
    return Calibrator(raw, np.concatenate([[odds[0] - 4], odds, [odds[-1] + 4]]))


def _evaluate(model: StackedTextModel, datasets: list[LabelledPosts]) -> dict[str, float]:
    """Return the metrics of the test rows."""
    test = [rows.split("test") for rows in datasets]
    scores = [model.score_texts(TextBatch(rows.texts)) for rows in test]
    is_good = test[_ANSWERS].labels == 1
    return {
        "clickbait32k.rows": float(len(test[_CLICKBAIT])),
        "clickbait32k.auc": roc_auc(scores[_CLICKBAIT], test[_CLICKBAIT].labels == 1),
        "webis.rows": float(len(test[_WEBIS])),
        "webis.spearman": rank_correlation(scores[_WEBIS], test[_WEBIS].labels),
        "semeval.rows": float(len(test[_ANSWERS])),
        "semeval.auc": roc_auc(scores[_ANSWERS], is_good),
        "semeval.spearman": rank_correlation(scores[_ANSWERS], test[_ANSWERS].labels),
    }


def _card(digest: str, day: str, rows: list[int], metrics: dict[str, float]) -> ModelCard:
    return ModelCard(
        name="quality",
        sha256=digest,
        trained_on=day,
        summary="How well a text reads beside ordinary posts: no clickbait, says something.",
        features=len(FEATURES),
        data=[
            DataUse("quality_clickbait32k.csv.gz", rows[0], "MIT", "labelled"),
            DataUse("quality_webis_clickbait17.csv.gz", rows[1], "MIT repository", "labelled"),
            DataUse("quality_semeval_cqa.csv.gz", rows[2], "none stated", "labelled"),
            DataUse("the four ordinary files", 0, "see the filters", "tunes the scale only"),
        ],
        metrics=metrics,
        weaknesses=[
            "clickbait32k teaches the publisher's style, not quality",
            "says nothing of truth, pictures or the author; English only",
        ],
        command="feedmill train quality --data DATA",
    )
