"""One model of ``alpha * quality_loss + beta * engagement_loss``, beside a model for each of them.

Both read the same columns, and the combined model has as many trees as the two others together.  A
row has one target, so the other loss is masked.  The weights of the combined model are part of its
training: a new weight is a new model.  Those of the pair are a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feedmill.training.arrays import Values
from feedmill.training.datasets.headline_tests import read_arms, significant_pairs
from feedmill.training.datasets.ratings import SEMEVAL, WEBIS
from feedmill.training.datasets.split import splits_of
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.ranker_report import (
    Section,
    correlation_figures,
    mean_figures,
    section_lines,
)
from feedmill.training.fitting.engagement import arm_rows
from feedmill.training.fitting.linear_text import TextRows, text_rows
from feedmill.training.fitting.ngram_models import SEED, fit_ridge, folds_of, out_of_fold

SOURCES = ("webis", "semeval", "upworthy")
WEIGHTS = ((0.9, 0.1), (0.7, 0.3), (0.5, 0.5), (0.3, 0.7), (0.1, 0.9))
_TREES_OF_PAIR = 60
_PENALTY = 30.0
_SETTINGS: dict[str, Any] = {
    "num_leaves": 8,
    "min_data_in_leaf": 60,
    "learning_rate": 0.08,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": SEED,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Compared:
    """What the combined model or the pair reaches with some weights, and what these cost."""

    name: str
    figures: Sequence[Figure]
    seconds: float


def compare(folder: Path, clock: Callable[[], float]) -> list[Compared]:
    """Compare both on validation rows of the data sets in `folder`; raises `UsageError`.

    `clock` returns seconds; what other weights cost is measured by it.
    """
    sources = _read(folder)
    train = {name: rows.where(splits == "train") for name, (rows, splits) in sources.items()}
    test = {name: rows.where(splits == "validation") for name, (rows, splits) in sources.items()}
    columns, of_test = _columns(train, test)
    rows = np.concatenate([columns[name] for name in SOURCES])
    source_of = np.repeat(np.arange(len(SOURCES)), [len(train[name]) for name in SOURCES])
    targets = np.concatenate([_standardised(train[name]) for name in SOURCES])
    # The two data sets of quality count alike, and quality as much as engagement.
    share = np.array([0.5, 0.5, 1.0]) / np.bincount(source_of)
    weights = share[source_of] * len(rows)
    is_quality = source_of < 2
    arms = read_arms(folder)
    pairs = significant_pairs(arms.where(sources["upworthy"][1] == "validation"))
    found = []

    def scores(model: Any) -> dict[str, Values]:
        return {name: np.asarray(model.predict(of_test[name])) for name in SOURCES}

    masks = {"quality": is_quality, "engagement": ~is_quality}
    pair = {
        name: scores(fit(rows, targets, weights * mask, _TREES_OF_PAIR))
        for name, mask in masks.items()
    }
    for alpha, beta in WEIGHTS:
        begin = clock()
        mixed = weights * np.where(is_quality, alpha, beta)
        combined = scores(fit(rows, targets, mixed, 2 * _TREES_OF_PAIR))
        trained = clock()
        summed = {
            name: alpha * pair["quality"][name] + beta * pair["engagement"][name]
            for name in SOURCES
        }
        added = clock() - trained
        name = f"{alpha:g} quality + {beta:g} engagement"
        found.append(Compared(f"pair, {name}", _figures(summed, test, pairs), added))
        figures = _figures(combined, test, pairs)
        found.append(Compared(f"one model, {name}", figures, trained - begin))
    for name, values in pair.items():
        found.append(Compared(f"{name} of the pair alone", _figures(values, test, pairs), 0.0))
    return found


def fit(rows: Values, targets: Values, weights: Values, trees: int) -> Any:
    """Fit LightGBM by the weighted squared loss; a row of weight 0 is masked.

    `rows` are (rows, columns), `targets` and `weights` (rows,).
    """
    import lightgbm  # noqa: PLC0415 a second to import, and only trainers need it

    def objective(predicted: Values, _: object) -> tuple[Values, Values]:
        return weights * (predicted - targets), weights

    data = lightgbm.Dataset(rows, label=targets)
    return lightgbm.train({**_SETTINGS, "objective": objective}, data, num_boost_round=trees)


def _read(folder: Path) -> dict[str, tuple[TextRows, Any]]:
    sources = {}
    for dataset in (WEBIS, SEMEVAL):
        posts = dataset.load(folder)
        rows = text_rows(posts.texts, posts.labels, posts.groups)
        sources[dataset.source] = (rows, posts.splits)
    arms = read_arms(folder)
    splits = np.array(splits_of("upworthy", arms.tests))
    sources["upworthy"] = (arm_rows(arms), splits)
    return sources


def _columns(
    train: Mapping[str, TextRows], test: Mapping[str, TextRows]
) -> tuple[dict[str, Values], dict[str, Values]]:
    """Return the columns that all models read: n-gram scores of each target, and the shape."""
    parts: dict[str, list[Values]] = {name: [] for name in SOURCES}
    of_test: dict[str, list[Values]] = {name: [] for name in SOURCES}
    for learned in SOURCES:
        rows = train[learned]

        def fit_ngrams(mask: Any, rows: TextRows = rows) -> Any:
            return fit_ridge(rows.matrix[mask], rows.values[mask], rows.weights[mask], _PENALTY)

        model = fit_ngrams(np.ones(len(rows), dtype=np.bool_))
        for name in SOURCES:
            own = name == learned
            folds = folds_of(rows.groups.tolist())
            parts[name].append(
                out_of_fold(fit_ngrams, rows.matrix, folds)
                if own
                else train[name].matrix @ model.real_weights
            )
            of_test[name].append(test[name].matrix @ model.real_weights)
    columns = {n: np.column_stack([*parts[n], train[n].shape]) for n in SOURCES}
    return columns, {n: np.column_stack([*of_test[n], test[n].shape]) for n in SOURCES}


def _standardised(rows: TextRows) -> Values:
    """Return the targets less their mean, over their deviation: losses are comparable so."""
    mean = np.average(rows.values, weights=rows.weights)
    spread = np.sqrt(np.average((rows.values - mean) ** 2, weights=rows.weights))
    return np.asarray((rows.values - mean) / spread, dtype=np.float64)


def _figures(
    scores: Mapping[str, Values], test: Mapping[str, TextRows], pairs: Any
) -> list[Figure]:
    rated = [
        correlation_figures(
            Bootstrap(test[name].groups.tolist()), [scores[name]], test[name].values
        )[0]
        for name in SOURCES[:2]
    ]
    clicks = scores["upworthy"]
    hits = (clicks[pairs[:, 0]] > clicks[pairs[:, 1]]).astype(np.float64)
    groups = test["upworthy"].groups[pairs[:, 0]].tolist()
    return [*rated, mean_figures(Bootstrap(groups), [hits])[0]]


def page(found: Sequence[Compared]) -> str:
    """Return the page as Markdown."""
    rows = [
        (one.name, *(str(figure) for figure in one.figures), f"{one.seconds * 1e3:,.2f} ms")
        for one in found
    ]
    section = Section(
        "Metric by metric",
        "On validation rows, which trained none of these models. The last column is the time that "
        "other weights take on these rows: to train and score again, or to add two columns.",
        ("scores", "Webis Spearman", "SemEval Spearman", "Upworthy pairs", "to change the weights"),
        rows,
    )
    lines = [
        "# One combined loss, or two models and two weights",
        "",
        "Written by `feedmill evaluate rankers --docs docs`. One LightGBM",
        "model learns `alpha * quality_loss + beta * engagement_loss`, squared losses of",
        "standardised targets; a row has one target, and the other loss is masked. The pair is two",
        "such models",
        f"of {_TREES_OF_PAIR} trees, the combined one has {2 * _TREES_OF_PAIR}. All read the same "
        "columns: out-of-fold",
        "n-gram scores of each target, and the shape of the text.",
        "",
        *section_lines(section),
    ]
    return "\n".join(lines).rstrip() + "\n"
