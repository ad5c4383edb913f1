"""Run evaluations: of one filter on given files, or of all in every mode on the data folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import STORE, FilterSpec
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.text_model import TextModel
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    cross_validate,
    leave_one_dataset_out,
)
from feedmill.training.evaluation.filter_metrics import DatasetReport, OrdinaryReport
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    as_markdown,
    plot,
    plot_name,
)
from feedmill.training.evaluation.stored_models import evaluate_ordinary, evaluate_stored
from feedmill.training.training_data import TrainingData, read_training_data, recipe_of

_FOLDS = 5


@dataclass(frozen=True)
class EvaluationModes:
    """In which modes to evaluate a filter.

    Attributes
    ----------
    stored, store
        The model of a store, the shipped one if None.
    folds
        By cross-validation with so many folds; 0: not.
    left_out
        With each data set left out of training.
    """

    stored: bool = True
    store: Path | None = None
    folds: int = 0
    left_out: bool = False


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
    alone: list[OrdinaryReport] = []
    together: list[OrdinaryReport] = []
    card = None
    if modes.stored:
        model, card = _stored(spec, modes.store)
        datasets += evaluate_stored(model, card, data)
        if data.ordinary:
            alone = evaluate_ordinary([(model, card)], data.ordinary)
            others = [
                _or_shipped(other, modes.store)
                for other in FILTERS.values()
                if other.name != spec.name
            ]
            together = evaluate_ordinary([(model, card), *others], data.ordinary)
    if modes.folds:
        for index in range(len(data.labelled)):
            datasets.append(cross_validate(spec, data, index, modes.folds, budget))
    if modes.left_out:
        datasets += leave_one_dataset_out(spec, data, replace(budget, alone=False))
    return Evaluation([FilterReport(spec.name, card, datasets, alone)], together)


def evaluate_all(
    folder: Path, store: Path | None, budget: TrainingBudget, report_progress: Callable[[str], None]
) -> Evaluation:
    """Evaluate every filter of a store (the shipped one if None) in every mode, for minutes.

    `folder` holds the data sets of the recipes.  Raises as `evaluate_one`.
    """
    stored = {name: _stored(spec, store) for name, spec in FILTERS.items()}
    reports = []
    for name, spec in FILTERS.items():
        data = read_training_data(spec, [str(folder)], [])
        report_progress(f"{name}: the stored model")
        datasets = evaluate_stored(*stored[name], data)
        for index, dataset in enumerate(data.labelled):
            report_progress(f"{name}: folds of {dataset.rows.source}")
            for fold_budget in (budget, replace(budget, alone=True)):
                datasets.append(cross_validate(spec, data, index, _FOLDS, fold_budget))
        if len(data.labelled) > 1:
            report_progress(f"{name}: each set left out")
            datasets += leave_one_dataset_out(spec, data, budget)
        for file, research in _research_data(spec, data, folder):
            report_progress(f"{name}: folds of {file}, for research only")
            datasets.append(cross_validate(spec, research, 0, _FOLDS, replace(budget, alone=True)))
        ordinary = evaluate_ordinary([stored[name]], data.ordinary)
        reports.append(FilterReport(name, stored[name][1], datasets, ordinary))
    together = evaluate_ordinary(list(stored.values()), data.ordinary)
    return Evaluation(reports, together)


def _research_data(
    spec: FilterSpec, data: TrainingData, folder: Path
) -> Iterator[tuple[str, TrainingData]]:
    """Yield the files of the recipe's research that are in the folder, each as data of its own."""
    research = recipe_of(spec).research
    for file in research.files if research else ():
        if (folder / file).exists():
            labelled = read_training_data(spec, [str(folder / file)], []).labelled
            yield file, replace(data, labelled=labelled)


def _stored(spec: FilterSpec, store: Path | None) -> tuple[TextModel, ModelCard]:
    return spec.load(store), read_card(store or STORE, spec.name)


def _or_shipped(spec: FilterSpec, store: Path | None) -> tuple[TextModel, ModelCard]:
    """Load a filter; the shipped one where the store has none of that name."""
    return _stored(spec, store if store and (store / f"{spec.name}.json").exists() else None)


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
