"""Run the evaluation of a filter on files, in the modes that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from feedmill.filters.model import STORE, FilterSpec
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store import store_with
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    cross_validate,
    leave_one_dataset_out,
)
from feedmill.training.evaluation.filter_metrics import DatasetReport
from feedmill.training.evaluation.ordinary_posts import OrdinaryReport, evaluate_ordinary
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    as_markdown,
    plot,
    plot_name,
)
from feedmill.training.evaluation.stored_models import (
    Comparison,
    compare_stored,
    evaluate_stored,
    ordinary_rows,
)
from feedmill.training.training_data import Dataset, TrainingData

StoredModel = tuple[TextModel, ModelCard]


@dataclass(frozen=True)
class EvaluationModes:
    """In which modes to evaluate a filter.

    Attributes
    ----------
    stored, store
        The model of a store, the shipped one if None.
    against
        Another store, with whose model it is compared.
    folds
        By cross-validation with so many folds; 0: not.
    left_out
        With each data set left out of training.
    look
        On test rows; else only on rows that may be looked at as often as one likes.
    """

    stored: bool = True
    store: Store | None = None
    against: Store | None = None
    folds: int = 0
    left_out: bool = False
    look: bool = False


def evaluate_one(
    spec: FilterSpec, data: TrainingData, modes: EvaluationModes, budget: TrainingBudget
) -> Evaluation:
    """Evaluate one filter; with a stored model also what all filters do to the ordinary posts.

    Raises
    ------
    UsageError
        The data do not allow one of the modes.
    BadArtifact
        A store's model cannot be read.
    """
    datasets: list[DatasetReport] = []
    not_looked_at: list[str] = []
    comparisons: list[Comparison] = []
    alone = together = card = None
    if modes.stored:
        model, card = stored_model(spec, modes.store)
        stored = evaluate_stored(model, card, data, look=modes.look)
        datasets, not_looked_at = stored.reports, stored.not_looked_at
        if modes.against is not None:
            other = stored_model(spec, modes.against)
            comparisons = compare_stored((model, card), other, data, look=modes.look)
        if data.ordinary:
            others = [
                _or_shipped(filter_, modes.store)
                for filter_ in FILTERS.values()
                if filter_.name != spec.name
            ]
            alone = on_ordinary([(model, card)], data.ordinary, look=modes.look)
            together = on_ordinary([(model, card), *others], data.ordinary, look=modes.look)
    if modes.folds:
        for index in range(len(data.labelled)):
            datasets.append(cross_validate(spec, data, index, modes.folds, budget))
    if modes.left_out:
        alone_budget = replace(budget, alone=False)
        datasets += leave_one_dataset_out(spec, data, alone_budget, look=modes.look)
    report = FilterReport(spec.name, card, datasets, not_looked_at, alone, comparisons)
    return Evaluation([report], together)


def on_ordinary(
    models: list[StoredModel], ordinary: tuple[Dataset, ...], *, look: bool
) -> OrdinaryReport:
    """Report what models together do to ordinary posts; on their test rows with a look."""
    rows = ordinary_rows([card for _, card in models], ordinary, look=look)
    split = "test rows" if look else "validation rows, on which thresholds were chosen"
    return evaluate_ordinary([model for model, _ in models], rows, split)


def stored_model(spec: FilterSpec, store: Store | None) -> StoredModel:
    """Load a filter, the shipped one where no store is given, with its card."""
    return spec.load(store), read_card(store or STORE, spec.name)


def _or_shipped(spec: FilterSpec, store: Store | None) -> StoredModel:
    """Load a filter; the shipped one where the store has none of that name."""
    return stored_model(spec, store_with(store, spec.name, STORE))


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write ``evaluation.json``, ``evaluation.md`` and the curves into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(evaluation), indent=1)
    (folder / "evaluation.json").write_bytes(text + b"\n")
    (folder / "evaluation.md").write_text(as_markdown(evaluation), encoding="utf-8")
    for report in evaluation.filters:
        for dataset in report.datasets:
            path = folder / plot_name(report.filter, dataset)
            path.write_text(plot(report.filter, dataset), encoding="utf-8")
