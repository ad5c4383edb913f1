"""Evaluate the filters on the data folder, in minutes, and write docs/filters.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filters_page import WholeEvaluation, curves, page
from health_posts import HealthReport, evaluate_health, evaluate_health_left_out
from local_labels import evaluate_local
from pages import log_page_look, page_options, write_page

from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import FilterSpec
from feedmill.models.store_files import Store
from feedmill.training.datasets.known import OVER18, SEMEVAL
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    models_left_out,
    report_left_out,
)
from feedmill.training.evaluation.evaluation_runs import StoredModel, on_ordinary, stored_model
from feedmill.training.evaluation.report import Evaluation, FilterReport
from feedmill.training.evaluation.stored_models import evaluate_stored, ordinary_rows
from feedmill.training.training_data import Dataset, TrainingData, read_training_data

_HEALTH_SOURCES = ("reddit", "facebook", "bluesky")
# So few ordinary posts that the many models take minutes, not hours.
_ORDINARY_ROWS = 2_000


def evaluate_filters(
    folder: Path, store: Store | None, budget: TrainingBudget, *, look: bool
) -> WholeEvaluation:
    """Evaluate every filter of a store (the shipped one if None) on the data sets in `folder`.

    Raises `UsageError` where a file is missing, `BadArtifact` where a model is.
    """
    stored = {name: stored_model(spec, store) for name, spec in FILTERS.items()}
    reports, health, local = [], [], []
    ordinary: tuple[Dataset, ...] = ()
    for name, spec in FILTERS.items():
        data = read_training_data(spec, [str(folder)], [])
        ordinary = _ordinary_of_all(data, folder)
        datasets, not_looked_at = evaluate_stored(*stored[name], data, look=look)
        if len(data.labelled) > 1:
            for left_out in models_left_out(spec, data, budget):
                datasets.append(report_left_out(data, left_out, look=look))
                if name == "spam":
                    local += evaluate_local(data, left_out, look=look)
        if name == "misinformation":
            health = _on_health(spec, stored[name], data, budget, look=look)
        alone = on_ordinary([stored[name]], ordinary, look=look)
        reports.append(FilterReport(name, stored[name][1], datasets, not_looked_at, alone))
    together = on_ordinary(list(stored.values()), ordinary, look=look)
    return WholeEvaluation(Evaluation(reports, together), health, local)


def _ordinary_of_all(data: TrainingData, folder: Path) -> tuple[Dataset, ...]:
    """Return the ordinary posts of a filter's training and the fine posts of other sets."""
    sources = {dataset.known.file: dataset for dataset in (*data.ordinary, *data.labelled)}
    files = [dataset.known.file for dataset in data.ordinary]
    for known in (OVER18, SEMEVAL):
        if known.file not in files:
            files.append(known.file)
            sources.setdefault(known.file, Dataset(known.load(folder), known))
    return tuple(sources[file] for file in files)


def _on_health(
    spec: FilterSpec, stored: StoredModel, data: TrainingData, budget: TrainingBudget, *, look: bool
) -> list[HealthReport]:
    reports = []
    for dataset in data.ordinary:
        source = dataset.rows.source
        if source in _HEALTH_SOURCES:
            (rows,) = ordinary_rows([stored[1]], [dataset], look=look)
            reports.append(evaluate_health(stored[0], rows, left_out=False))
            reports.append(evaluate_health_left_out(spec, data, source, rows, budget))
    return reports


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = page_options("the filters")
    parser.add_argument("--jobs", type=int, default=2, help="models trained at a time")
    options = parser.parse_args(arguments)
    budget = TrainingBudget(ordinary_rows=_ORDINARY_ROWS, jobs=options.jobs)
    look = options.look is not None
    whole = evaluate_filters(options.data, options.model, budget, look=look)
    evaluation = whole.evaluation
    log_page_look(options, [one.card for one in evaluation.filters], evaluation.rows_by_source)
    text = page(whole)
    write_page(options.docs, "filters", text, curves(evaluation))


if __name__ == "__main__":
    main()
