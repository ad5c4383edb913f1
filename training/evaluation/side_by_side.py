"""Versions of one model on the same rows: what cards, `train` and `models diff` say of them.

A card's figures called `unseen` are of the labelled rows that trained the model, each scored by a
model of the same recipe that had not learned it, at the model's own thresholds.  A version that
never saw the file is measured on the same rows as it is.  So neither needs the test rows.  What a
ranker learned from a product says as little of how good it is: its ratings here are by models that
had not learned the author of a post.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from feedmill.events.errors import UsageError
from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.filters.model import FilterSpec
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.snapshots import name_of
from feedmill.training.evaluation.filter_metrics import filter_metrics
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.ordinary_posts import ALL, evaluate_ordinary
from feedmill.training.evaluation.stored_models import training_rows
from feedmill.training.training_data import TrainingData, read_training_data

UNSEEN, VALIDATION = ".unseen", ".validation"
_TITLES = {
    "auc": "AUC",
    "caught_demoted": f"recall at {DEMOTE_AT:g} (demoted or hidden)",
    "caught_hidden": f"recall at {HIDE_AT:g} (hidden)",
    "fine_demoted": f"fine posts at {DEMOTE_AT:g} (demoted or hidden)",
    "fine_hidden": f"fine posts at {HIDE_AT:g} (hidden)",
    "hidden": f"ordinary posts at {HIDE_AT:g} (hidden)",
    "order": "rank correlation with the labels",
    "error": "mean distance from the labels",
    "demoted": f"ordinary posts from {DEMOTE_AT:g} to {HIDE_AT:g} (demoted)",
}
_SHOWN = ("auc", "caught_demoted", "caught_hidden", "fine_demoted", "fine_hidden")


def title_of(metric: str) -> tuple[str, str]:
    """Return the rows of a metric of a card, and what it measures, in words."""
    source, _, name = metric.rpartition(".")
    if not source or name not in _TITLES:
        return "", metric
    for suffix in (UNSEEN, VALIDATION):
        if source.endswith(suffix):
            return source.removesuffix(suffix), _TITLES[name]
    return f"{source}, test rows", _TITLES[name]


def unseen_figures(unseen: Values, data: TrainingData) -> dict[str, Figure]:
    """Return the figures of a card about its labelled rows.

    `unseen` has a value for each labelled row that is no test row, in their order.
    """
    figures: dict[str, Figure] = {}
    at = 0
    for dataset in data.labelled:
        rows = dataset.rows.without_test()
        figures |= _figures(rows, unseen[at : at + len(rows)])
        at += len(rows)
    return figures


def ordinary_figures(
    model: TextModel, sources: Sequence[LabelledPosts], suffix: str
) -> dict[str, Figure]:
    """Return how many ordinary posts a model hides and demotes, by source."""
    figures: dict[str, Figure] = {}
    for cell in evaluate_ordinary([model], sources, "").cells:
        if cell.length == ALL:
            figures[f"{cell.source}{suffix}.hidden"] = cell.hidden
            figures[f"{cell.source}{suffix}.demoted"] = cell.demoted
    return figures


def measured_beside(model: TextModel, card: ModelCard, data: TrainingData) -> dict[str, float]:
    """Return the figures of a model on rows that trained another one, called as on its card.

    Left out are labelled files that the model learned itself.
    """
    figures: dict[str, Figure] = {}
    for dataset in data.labelled:
        if not _is_learned(card, data, dataset.rows.source):
            rows = dataset.rows.without_test()
            figures |= _figures(rows, model.score_many(rows.posts))
    validation = [dataset.rows.split("validation") for dataset in data.ordinary]
    if chosen := [rows for rows in validation if len(rows)]:
        figures |= ordinary_figures(model, chosen, VALIDATION)
    return {name: figure.value for name, figure in figures.items()}


def rating_figures(rows: LabelledPosts, ratings: Values) -> dict[str, float]:
    """Return how near ratings are to the labels of rows, as a card has it."""
    return {
        f"{rows.source}{UNSEEN}.order": _order(ratings, rows.labels),
        f"{rows.source}{UNSEEN}.error": float(np.abs(ratings - rows.labels).mean()),
    }


def _order(ratings: Values, labels: Values) -> float:
    """Return Spearman's correlation, 0 where either is constant."""
    if np.ptp(ratings) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(spearmanr(ratings, labels).statistic)


def ratings_beside(shipped: TextModel, rows: LabelledPosts) -> dict[str, float]:
    """Return the same of a model that saw none of these rows."""
    return rating_figures(rows, shipped.score_many(rows.posts))


def kept_data(spec: FilterSpec, card: ModelCard, store: Store) -> TrainingData | None:
    """Return what trained a version as far as its store, a folder, keeps it; None: nothing."""
    if not isinstance(store, Path):
        return None
    by_role: dict[str, list[str]] = {"labelled": [], "ordinary": []}
    for use in card.data:
        if use.snapshot is not None and use.role in by_role:
            path = store / name_of(use.snapshot.sha256)
            if path.is_file():
                by_role[use.role].append(str(path))
    if not by_role["labelled"]:
        return None
    return read_training_data(spec, by_role["labelled"], by_role["ordinary"])


def _is_learned(card: ModelCard, data: TrainingData, source: str) -> bool:
    (dataset,) = (dataset for dataset in data.labelled if dataset.rows.source == source)
    try:
        return training_rows(card, dataset) is not None
    except UsageError:
        # It learned the file, split in another way.
        return True


def _figures(rows: LabelledPosts, scores: Values) -> dict[str, Figure]:
    if not len(rows):
        return {}
    metrics = filter_metrics(scores, rows.labels == 1, rows.groups)
    return {f"{rows.source}{UNSEEN}.{name}": getattr(metrics, name) for name in _SHOWN}
