"""Evaluate a stored model, on rows that neither trained it nor chose its thresholds.

The model's card names the files that it learned from and how their rows were split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import TextModel
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.filter_metrics import (
    DEMOTE_AT,
    HIDE_AT,
    DatasetReport,
    OrdinaryReport,
    ScoredRows,
    dataset_report,
    filter_metrics,
    fine_scores,
)
from feedmill.training.evaluation.metrics import fraction
from feedmill.training.training_data import Dataset, TrainingData


def evaluate_stored(model: TextModel, card: ModelCard, data: TrainingData) -> list[DatasetReport]:
    """Evaluate a model on each labelled data set.

    Of a file that the card names, by its sha256 or by its name, the test split counts; any other
    file counts whole.  Rows whose group or text the model learned are left out.

    Raises
    ------
    UsageError
        The card splits a file otherwise, so that its test rows cannot be told from the others; or
        no row of a data set is left.
    """
    datasets = (*data.labelled, *data.ordinary)
    training = [rows for d in datasets if (rows := training_rows(card, d)) is not None]
    ordinary = [
        scores
        for dataset in data.ordinary
        if len(scores := fine_scores(model, drop_leaked(evaluation_rows(card, dataset), training)))
    ]
    reports = []
    for dataset in data.labelled:
        given = evaluation_rows(card, dataset)
        rows = drop_leaked(given, training)
        if not len(rows):
            raise UsageError(
                f"`{dataset.rows.source}`: {card.name} was trained or tuned on every row of it"
            )
        scores = model.score_many(rows.posts)
        metrics = filter_metrics(scores, rows.labels == 1, ordinary)
        scored = ScoredRows(rows, scores, metrics, len(given) - len(rows))
        reports.append(dataset_report(rows.source, "stored", _note(card, data, dataset), [scored]))
    return reports


def evaluate_ordinary(
    models: Sequence[tuple[TextModel, ModelCard]], ordinary: Sequence[Dataset]
) -> list[OrdinaryReport]:
    """Report what the models, together, hide and else demote of each ordinary source."""
    reports = []
    for dataset in ordinary:
        rows = dataset.rows
        for _, card in models:
            if training_rows(card, dataset) is not None:
                rows = dataset.rows.split("test")
        highest = np.max([model.score_many(rows.posts) for model, _ in models], axis=0)
        hidden = highest >= HIDE_AT
        demoted = (highest >= DEMOTE_AT) & ~hidden
        fine = rows.labels == 0
        fractions = (
            fraction(hidden),
            fraction(demoted),
            fraction(hidden[fine]),
            fraction(demoted[fine]),
        )
        reports.append(OrdinaryReport(rows.source, len(rows), *fractions))
    return reports


def evaluation_rows(card: ModelCard, dataset: Dataset) -> LabelledPosts:
    """Return the rows of a file that the card's model may be evaluated on; raises `UsageError`."""
    return dataset.rows.split("test") if _is_named(card, dataset)[0] else dataset.rows


def training_rows(card: ModelCard, dataset: Dataset) -> LabelledPosts | None:
    """Return the rows of a file that trained or tuned the card's model; raises `UsageError`.

    None if the card does not name the file.
    """
    return dataset.rows.without_test() if _is_named(card, dataset)[0] else None


def _is_named(card: ModelCard, dataset: Dataset) -> tuple[bool, bool]:
    """Return whether the card names a data set's file, and whether it is the very same file."""
    known = dataset.known
    uses = [use for use in card.data if use.file == known.file or _is_same(use.sha256, dataset)]
    for use in uses:
        if use.split and use.split != known.table.split_rule:
            raise UsageError(
                f"`{card.name}@{card.version}` was trained on {known.file}, split {use.split}; it "
                f"cannot be evaluated on it split {known.table.split_rule}: name that column, or "
                "give the file without options"
            )
    return bool(uses), any(_is_same(use.sha256, dataset) for use in uses)


def _is_same(sha256: str, dataset: Dataset) -> bool:
    return bool(sha256) and sha256 == dataset.sha256


def _note(card: ModelCard, data: TrainingData, dataset: Dataset) -> str:
    is_named, is_same = _is_named(card, dataset)
    if is_named and is_same:
        return "the test split of a file that it was trained on"
    if is_named:
        return (
            "the test split of a file with the name of one that it was trained on, whose sha256 "
            "differs or is unknown"
        )
    given = {d.known.file for d in (*data.labelled, *data.ordinary)}
    missing = [use.file for use in card.data if use.file not in given]
    if missing:
        return f"a file it never saw; its rows were not looked for in {', '.join(missing)}"
    return "a file it never saw"
