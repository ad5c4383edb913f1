"""Run evaluations: of one filter on given files, or of all in every mode on the data folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import STORE, FilterSpec
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store import installed_version
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.training.datasets.known import OVER18, SEMEVAL
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    cross_validate,
    leave_one_dataset_out,
    models_left_out,
    report_left_out,
)
from feedmill.training.evaluation.filter_metrics import DatasetReport
from feedmill.training.evaluation.health_posts import (
    HealthReport,
    evaluate_health,
    evaluate_health_left_out,
)
from feedmill.training.evaluation.local_labels import evaluate_local
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
from feedmill.training.training_data import Dataset, TrainingData, read_training_data

_HEALTH_SOURCES = ("reddit", "facebook", "bluesky")


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
        model, card = _stored(spec, modes.store)
        stored = evaluate_stored(model, card, data, look=modes.look)
        datasets, not_looked_at = stored.reports, stored.not_looked_at
        if modes.against is not None:
            other = _stored(spec, modes.against)
            comparisons = compare_stored((model, card), other, data, look=modes.look)
        if data.ordinary:
            others = [
                _or_shipped(filter_, modes.store)
                for filter_ in FILTERS.values()
                if filter_.name != spec.name
            ]
            alone = _on_ordinary([(model, card)], data.ordinary, look=modes.look)
            together = _on_ordinary([(model, card), *others], data.ordinary, look=modes.look)
    if modes.folds:
        for index in range(len(data.labelled)):
            datasets.append(cross_validate(spec, data, index, modes.folds, budget))
    if modes.left_out:
        alone_budget = replace(budget, alone=False)
        datasets += leave_one_dataset_out(spec, data, alone_budget, look=modes.look)
    report = FilterReport(spec.name, card, datasets, not_looked_at, alone, comparisons)
    return Evaluation([report], together, [])


def evaluate_all(
    folder: Path,
    store: Store | None,
    budget: TrainingBudget,
    report_progress: Callable[[str], None],
    *,
    folds: int,
    look: bool,
) -> Evaluation:
    """Evaluate every filter of a store (the shipped one if None), for minutes.

    `folder` holds the data sets of the recipes.  With 0 `folds` there is no cross-validation, which
    takes most of the time.  Raises as `evaluate_one`.
    """
    stored = {name: _stored(spec, store) for name, spec in FILTERS.items()}
    reports, health, local = [], [], []
    ordinary: tuple[Dataset, ...] = ()
    for name, spec in FILTERS.items():
        data = read_training_data(spec, [str(folder)], [])
        ordinary = _ordinary_of_all(data, folder)
        report_progress(f"{name}: the stored model")
        datasets, not_looked_at = evaluate_stored(*stored[name], data, look=look)
        for index, dataset in enumerate(data.labelled if folds else ()):
            report_progress(f"{name}: folds of {dataset.rows.source}")
            datasets.append(cross_validate(spec, data, index, folds, budget))
        if len(data.labelled) > 1:
            report_progress(f"{name}: each set left out")
            for left_out in models_left_out(spec, data, budget):
                datasets.append(report_left_out(data, left_out, look=look))
                if name == "spam":
                    local += evaluate_local(data, left_out, look=look)
        if name == "misinformation":
            report_progress(f"{name}: posts about health")
            health = _on_health(spec, stored[name], data, budget, look=look)
        alone = _on_ordinary([stored[name]], ordinary, look=look)
        reports.append(FilterReport(name, stored[name][1], datasets, not_looked_at, alone))
    report_progress("ordinary posts, by all filters together")
    together = _on_ordinary(list(stored.values()), ordinary, look=look)
    return Evaluation(reports, together, health, local)


def _ordinary_of_all(data: TrainingData, folder: Path) -> tuple[Dataset, ...]:
    """Return the ordinary posts of a filter's training and the fine posts of other sets."""
    sources = {dataset.known.file: dataset for dataset in (*data.ordinary, *data.labelled)}
    files = [dataset.known.file for dataset in data.ordinary]
    for known in (OVER18, SEMEVAL):
        if known.file not in files:
            files.append(known.file)
            sources.setdefault(known.file, Dataset(known.load(folder), known))
    return tuple(sources[file] for file in files)


def _on_ordinary(
    models: list[tuple[TextModel, ModelCard]], ordinary: tuple[Dataset, ...], *, look: bool
) -> OrdinaryReport:
    rows = ordinary_rows([card for _, card in models], ordinary, look=look)
    split = "test rows" if look else "validation rows, on which thresholds were chosen"
    return evaluate_ordinary([model for model, _ in models], rows, split)


def _on_health(
    spec: FilterSpec,
    stored: tuple[TextModel, ModelCard],
    data: TrainingData,
    budget: TrainingBudget,
    *,
    look: bool,
) -> list[HealthReport]:
    reports = []
    for dataset in data.ordinary:
        source = dataset.rows.source
        if source in _HEALTH_SOURCES:
            (rows,) = ordinary_rows([stored[1]], [dataset], look=look)
            reports.append(evaluate_health(stored[0], rows, left_out=False))
            reports.append(evaluate_health_left_out(spec, data, source, rows, budget))
    return reports


def _stored(spec: FilterSpec, store: Store | None) -> tuple[TextModel, ModelCard]:
    return spec.load(store), read_card(store or STORE, spec.name)


def _or_shipped(spec: FilterSpec, store: Store | None) -> tuple[TextModel, ModelCard]:
    """Load a filter; the shipped one where the store has none of that name."""
    is_there = store is not None and installed_version(store, spec.name) is not None
    return _stored(spec, store if is_there else None)


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
