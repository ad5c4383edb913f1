"""Train quality: the share of ordinary posts that a text reads better than, in [0, 1].

Two linear models on hashed n-grams (clickbait, helpful answers), LightGBM over their out-of-fold
scores and the text's shape.  Targets are centred within their set: otherwise the trees would learn
to tell the sets apart, and call every headline good and every comment bad.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import DataUse, ModelCard, pack_artifact, save_artifact, sha256_of
from feedmill.models.text_model import (
    Calibrator,
    NgramModel,
    StackedTextModel,
    model_arrays,
    stacked_columns,
    stacked_matrix,
)
from feedmill.models.trees import Trees
from feedmill.rankers.registry import QUALITY_TABLES
from feedmill.training.datasets.known import ordinary
from feedmill.training.datasets.labelled_posts import (
    LabelledPosts,
    LabelledRow,
    concatenate,
    labelled_posts,
    opening_words,
    read_csv_rows,
)
from feedmill.training.evaluation.metrics import rank_correlation, roc_auc
from feedmill.training.fitting.stacking import (
    Mask,
    Values,
    count_matrix,
    fit_logistic,
    fit_trees,
    folds_of,
    out_of_fold,
    stacked_rows,
)

_GRADES = {"Good": 1.0, "PotentiallyUseful": 0.5, "Bad": 0.0}
_CLICKBAIT, _WEBIS, _ANSWERS = range(3)
_WEIGHTS = (0.4, 0.3, 0.3)  # of the three sets, in the trees


def read_sets(folder: Path) -> list[LabelledPosts]:
    """Read the three sets; labels are the quality in [0, 1]."""
    clickbait = read_csv_rows(folder, "quality_clickbait32k")
    webis = read_csv_rows(folder, "quality_webis_clickbait17")
    answers = read_csv_rows(folder, "quality_semeval_cqa")
    return [
        labelled_posts(
            "clickbait32k",
            "clickbait",
            (
                LabelledRow(r["text"], 1 - float(r["label"]), opening_words(r["text"]))
                for r in clickbait
            ),
        ),
        labelled_posts(
            "webis",
            "clickbait",
            (
                LabelledRow(r["text"], 1 - float(r["truth_mean"]), opening_words(r["text"]))
                for r in webis
            ),
        ),
        labelled_posts(
            "semeval",
            "semeval",
            (LabelledRow(r["text"], _GRADES[r["rating"]], r["question_id"]) for r in answers),
        ),
    ]


def train(folder: Path, out: Path, day: str) -> ModelCard:
    """Train, judge and save the quality ranker into the store `out`."""
    sets = read_sets(folder)
    clean = ordinary(folder)
    learn = [c.where(c.parts != "judge") for c in sets]
    tables, trees = _fit(learn)
    calibrator = _fit_calibrator(tables, trees, clean)
    arrays = model_arrays(
        dict(zip(QUALITY_TABLES, tables, strict=True)), {"trees": trees}, calibrator
    )
    content = pack_artifact({"name": "quality"}, stacked_columns(QUALITY_TABLES), arrays)
    digest = sha256_of(content)
    model = StackedTextModel("quality", digest[:12], tables, Trees.parse(trees), calibrator)
    card = _card(digest, day, [len(c) for c in learn], _evaluate(model, sets))
    save_artifact(out, card, content)
    return card


def _fit(learn: list[LabelledPosts]) -> tuple[tuple[NgramModel, NgramModel], str]:
    rows = concatenate(learn)
    owner = np.repeat(np.arange(len(learn)), [len(c) for c in learn])
    batch = TextBatch(rows.texts)
    matrix = count_matrix(batch)
    # Webis' five ratings say more than a publisher's name.
    emphasis = np.where(owner == _WEBIS, 4.0, 1.0)

    def clickbait(mask: Mask) -> NgramModel:
        weights = np.where(mask & (owner != _ANSWERS), emphasis, 0.0)
        return fit_logistic(matrix, 1 - rows.labels, weights, 10.0)

    def answer(mask: Mask) -> NgramModel:
        return fit_logistic(matrix, rows.labels, 1.0 * (mask & (owner == _ANSWERS)), 3.0)

    folds = folds_of(rows.groups)
    scores = [out_of_fold(fit, matrix, folds) for fit in (clickbait, answer)]
    trees = fit_trees(
        stacked_rows(scores, batch),
        np.concatenate([_centred(c.labels) for c in learn]),
        np.array(_WEIGHTS)[owner] * len(rows) / np.bincount(owner)[owner],
        objective="cross_entropy",
        rounds=80,
        leaves=10,
        min_rows=60,
    )
    everything = np.ones(len(rows), dtype=np.bool_)
    return (clickbait(everything), answer(everything)), trees


def _centred(labels: Values) -> Values:
    """Return each label's mid-rank within its set, in (0, 1): the mean is one half."""
    values, counts = np.unique(labels, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(labels)
    return np.asarray(middle[np.searchsorted(values, labels)], dtype=np.float64)


def _fit_calibrator(
    ngram_models: tuple[NgramModel, ...], trees: str, clean: list[LabelledPosts]
) -> Calibrator:
    """Map raw scores to the share of ordinary posts below, each source counting alike."""
    forest = Trees.parse(trees)
    shares = np.linspace(0.02, 0.98, 25)
    knots = []
    for source in clean:
        tune = source.part("tune")
        knots.append(
            np.quantile(
                forest.raw_scores(stacked_matrix(ngram_models, TextBatch(tune.texts))), shares
            )
        )
    raw = np.maximum.accumulate(np.mean(knots, axis=0) + np.arange(len(shares)) * 1e-9)
    odds = np.log(shares / (1 - shares))
    # Beyond the outer knots the value still moves, by one log-odd per unit of raw score.
    raw = np.concatenate([[raw[0] - 4], raw, [raw[-1] + 4]])
    return Calibrator(raw, np.concatenate([[odds[0] - 4], odds, [odds[-1] + 4]]))


def _evaluate(model: StackedTextModel, sets: list[LabelledPosts]) -> dict[str, float]:
    held = [c.part("judge") for c in sets]
    scores = [model.score_texts(TextBatch(c.texts)) for c in held]
    good = held[_ANSWERS].labels == 1
    return {
        "clickbait32k.rows": float(len(held[_CLICKBAIT])),
        "clickbait32k.auc": roc_auc(scores[_CLICKBAIT], held[_CLICKBAIT].labels == 1),
        "webis.rows": float(len(held[_WEBIS])),
        "webis.spearman": rank_correlation(scores[_WEBIS], held[_WEBIS].labels),
        "semeval.rows": float(len(held[_ANSWERS])),
        "semeval.auc": roc_auc(scores[_ANSWERS], good),
        "semeval.spearman": rank_correlation(scores[_ANSWERS], held[_ANSWERS].labels),
    }


def _card(digest: str, day: str, rows: list[int], metrics: dict[str, float]) -> ModelCard:
    return ModelCard(
        name="quality",
        sha256=digest,
        trained_on=day,
        summary="How well a text reads beside ordinary posts: no clickbait, says something.",
        features=len(stacked_columns(QUALITY_TABLES)),
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
