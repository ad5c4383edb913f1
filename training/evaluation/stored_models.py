"""Evaluate a stored model, on rows that neither trained it nor chose its thresholds.

The model's card names the files that it learned from and how their rows were split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from feedmill.events.errors import UsageError
from feedmill.events.gates import DEMOTE_AT
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import TextModel
from feedmill.training.arrays import Mask, Values, Weights
from feedmill.training.datasets.known import KNOWN
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.filter_metrics import (
    DatasetReport,
    ScoredRows,
    dataset_report,
    ranking,
)
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.training_data import Dataset, TrainingData


class Comparison(msgspec.Struct, frozen=True):
    """How much more one stored model reaches than another, on the same rows of a data set.

    The intervals are of paired differences: both models are measured on the same draws.
    """

    name: str
    other: str
    rows: int
    auc: Figure
    caught_demoted: Figure
    fine_demoted: Figure


class StoredReports(NamedTuple):
    """The reports, and the files that were not evaluated because nobody asked for a look."""

    reports: list[DatasetReport]
    not_looked_at: list[str]


def evaluate_stored(
    model: TextModel, card: ModelCard, data: TrainingData, *, look: bool
) -> StoredReports:
    """Evaluate a model on each labelled data set.

    Of a file that the card names, by its sha256 or by its name, only the test split may count, and
    it counts if this is a `look`.  Any other file counts whole.  Rows whose group or text the model
    learned are left out.

    Raises `UsageError`: the card splits a file otherwise, so that its test rows cannot be told from
    the others; or no row of a data set is left.
    """
    training = [
        rows
        for dataset in (*data.labelled, *data.ordinary)
        if (rows := training_rows(card, dataset)) is not None
    ]
    reports, not_looked_at = [], []
    for dataset in data.labelled:
        is_named = _is_named(card, dataset)[0]
        if is_named and not look:
            not_looked_at.append(dataset.rows.source)
            continue
        given = dataset.rows.split("test") if is_named else dataset.rows
        rows = drop_leaked(given, training)
        if not len(rows):
            raise UsageError(
                f"`{dataset.rows.source}`: {card.name} was trained or tuned on every row of it"
            )
        scored = ScoredRows(rows, model.score_many(rows.posts), len(given) - len(rows))
        note = _note(card, data, dataset)
        reports.append(dataset_report(rows.source, "stored", note, [scored]))
    return StoredReports(reports, not_looked_at)


def compare_stored(
    one: tuple[TextModel, ModelCard],
    other: tuple[TextModel, ModelCard],
    data: TrainingData,
    *,
    look: bool,
) -> list[Comparison]:
    """Compare two models on the rows that neither learned, by the rules of `evaluate_stored`."""
    cards = (one[1], other[1])
    training = [
        rows
        for dataset in (*data.labelled, *data.ordinary)
        for card in cards
        if (rows := training_rows(card, dataset)) is not None
    ]
    comparisons = []
    for dataset in data.labelled:
        is_named = any(_is_named(card, dataset)[0] for card in cards)
        if is_named and not look:
            continue
        rows = drop_leaked(dataset.rows.split("test") if is_named else dataset.rows, training)
        scores = [model.score_many(rows.posts) for model, _ in (one, other)]
        differences = Bootstrap(rows.groups).figures(_difference(scores, rows.labels == 1))
        other_name = f"{other[1].name}@{other[1].version}"
        comparisons.append(Comparison(rows.source, other_name, len(rows), *differences))
    return comparisons


def _difference(scores: Sequence[Values], violating: Mask) -> Callable[[Weights], Values]:
    """Return what measures AUC, caught and fine demoted of the first model less the second's."""

    def measure(weights: Weights) -> Values:
        of_each = []
        for values in scores:
            demoted = values >= DEMOTE_AT
            parts = [
                (weights @ (demoted & mask)) / np.maximum(weights @ mask, 1)
                for mask in (violating, ~violating)
            ]
            of_each.append(np.stack([ranking(values, violating, weights)[:, 0], *parts], axis=1))
        return np.asarray(of_each[0] - of_each[1], np.float64)

    return measure


def ordinary_rows(
    cards: Sequence[ModelCard], datasets: Iterable[Dataset], *, look: bool
) -> list[LabelledPosts]:
    """Return the rows of ordinary posts that models may be evaluated on.

    Of a file that a card or this project names these are the test rows, or, without a `look`, the
    validation rows, on which the thresholds were chosen.  Any other file counts whole.
    """
    return [
        dataset.rows.split("test" if look else "validation")
        if dataset.known.file in KNOWN or any(_is_named(card, dataset)[0] for card in cards)
        else dataset.rows
        for dataset in datasets
    ]


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
                "give the file without options, or train the model again"
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
