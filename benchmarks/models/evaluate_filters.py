"""Measure the shipped filters: what each catches and spares, beside a filter that flags nothing.

    python benchmarks/models/evaluate_filters.py --docs .feedmill/evaluation [--look WHY]

With a look the shipped filters are measured on test rows.  Without one these rows are not read:
models of the same recipes, trained on four fifths of the groups, are measured on the rest, and the
ordinary posts are those of validation, on which the shipped thresholds were chosen.  `left out`
are other models, too: each set is scored by a model that learned from the other sets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation_page import log_page_look, page_options, rows_measured, write_page

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    cross_validate,
    leave_one_dataset_out,
)
from feedmill.training.evaluation.filter_evaluation import (
    judged_groups,
    on_ordinary,
    percent,
    plot,
    stored_model,
    table,
)
from feedmill.training.evaluation.filter_metrics import DatasetReport, FilterMetrics
from feedmill.training.evaluation.ordinary_posts import ALL, MIN_CELL_ROWS, OrdinaryReport
from feedmill.training.evaluation.stored_models import evaluate_stored
from feedmill.training.training_data import Dataset, read_training_data

# So few ordinary posts that the models of sets left out take minutes, not hours.
_ORDINARY_ROWS = 2_000
_FOLDS = 5
_HEAD = f"""\
The value of a filter is the probability that a post violates. By default a post is demoted from
{DEMOTE_AT:g} and hidden from {HIDE_AT:g}; *caught* is demoted or hidden. *Fine* are the posts of
the same set that do not violate. `left out` is another model of the same recipe, which learned
from the other sets alone, as if the set came from a platform never seen before; the lexicon, by
people who had read the sets, is left out as well, or not. Intervals of 95 % draw whole groups
(video, subreddit, domain, opening words).

A filter that flags nothing catches nothing and demotes nothing. Where a missed post and a post
demoted wrongly weigh alike, a filter errs less than that one as soon as the share of violating
posts is above the last column. A set is shown without its largest group, too, where that has more
than 5 % of the violating posts.
"""


@dataclass(frozen=True)
class FilterEvaluation:
    """What was measured of one filter, and of other models of its recipe."""

    card: ModelCard
    datasets: list[DatasetReport]


def evaluate_filters(
    folder: Path, store: Store | None, budget: TrainingBudget, *, look: bool
) -> tuple[list[FilterEvaluation], OrdinaryReport]:
    """Measure every filter of a store (the shipped one if None) on the data sets in `folder`.

    Raises `UsageError` where a file is missing, `BadArtifact` where a model is.
    """
    stored = [stored_model(spec, store) for spec in FILTERS.values()]
    found: list[FilterEvaluation] = []
    ordinary: dict[str, Dataset] = {}
    for spec, one in zip(FILTERS.values(), stored, strict=True):
        data = read_training_data(spec, [str(folder)], [])
        ordinary |= {dataset.known.file: dataset for dataset in data.ordinary}
        if look:
            reports = evaluate_stored(*one, data, look=True).reports
        else:
            places = range(len(data.labelled))
            reports = [cross_validate(spec, data, place, _FOLDS, budget) for place in places]
        if len(data.labelled) > 1:
            reports += leave_one_dataset_out(spec, data, budget, look=look)
        found.append(FilterEvaluation(one[1], reports))
    return found, on_ordinary(stored, tuple(ordinary.values()), look=look)


def page(found: Sequence[FilterEvaluation], ordinary: OrdinaryReport, *, look: bool) -> list[str]:
    """Return the lines of the page."""
    lines = ["# The filters", "", rows_measured(look=look), "", *_HEAD.splitlines(), ""]
    for evaluation in found:
        card = evaluation.card
        lines += [f"## {card.name}", "", f"{card.summary} Version `{card.version}`,"]
        lines += [
            f"[its card](models/{card.name}.md).",
            "",
            *_datasets_table(evaluation.datasets),
            "",
        ]
        lines += ["What it cannot do:", "", *(f"- {weakness}" for weakness in card.weaknesses), ""]
        lines += [f"![{file}](filters/{file})" for file in curves([evaluation])]
        lines += [""]
    return [*lines, *_ordinary_lines(ordinary)]


def _datasets_table(reports: Sequence[DatasetReport]) -> list[str]:
    rows = []
    for report in reports:
        rows.append(_row(report.name, report.mode, report.metrics))
        for group in report.large_groups[:1] if not report.mode.startswith("left out") else ():
            if group.without is not None:
                name = f"{report.name} without `{group.name}`"
                rows.append(_row(name, report.mode, group.without))
    head = ["set", "model", "posts", "violating", "caught", "caught and hidden", "fine demoted"]
    return table([*head, "AUC", "better than nothing from"], rows, left=2)


def _row(name: str, mode: str, metrics: FilterMetrics) -> list[str]:
    caught, fine = metrics.caught_demoted, metrics.fine_demoted
    share = fine.value / (fine.value + caught.value) if caught.low > 0 else None
    return [
        *(name, mode, f"{metrics.rows:,}", f"{metrics.violating:,}"),
        *map(str, (caught, metrics.caught_hidden, fine, metrics.auc)),
        "" if share is None else f"{100 * share:.1f} %",
    ]


def _ordinary_lines(report: OrdinaryReport) -> list[str]:
    """Return what all filters together do to ordinary posts, by source and by length."""
    rows = [
        [cell.source, cell.length, f"{cell.rows:,}", percent(cell.hidden), percent(cell.demoted)]
        for cell in report.cells
        if ALL in (cell.source, cell.length) and cell.rows >= MIN_CELL_ROWS
    ]
    head = ["source", "characters", "posts", "hidden, %", "demoted, not hidden, %"]
    return [
        *("## Ordinary posts, by all filters together", ""),
        f"Posts that nobody labelled, and fine posts of other sets: {report.split}.",
        *("", *table(head, rows, left=2), "", judged_groups(report)),
    ]


def curves(found: Sequence[FilterEvaluation]) -> dict[str, str]:
    """Return ROC, precision and calibration on each set as SVG, by their file's name."""
    return {
        f"{evaluation.card.name}-{report.name}.svg": plot(evaluation.card.name, report)
        for evaluation in found
        for report in evaluation.datasets
        if not report.mode.startswith("left out")
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = page_options("the filters")
    parser.add_argument("--jobs", type=int, default=2, help="models trained at a time")
    options = parser.parse_args(arguments)
    look = options.look is not None
    budget = TrainingBudget(ordinary_rows=_ORDINARY_ROWS, jobs=options.jobs)
    found, ordinary = evaluate_filters(options.data, options.model, budget, look=look)
    rows = {
        dataset.name: dataset.metrics.rows
        for evaluation in found
        for dataset in evaluation.datasets
    }
    rows |= {cell.source: cell.rows for cell in ordinary.cells if cell.length == ALL}
    log_page_look(options, [evaluation.card for evaluation in found], rows)
    write_page(options, "filters", page(found, ordinary, look=look), curves(found))


if __name__ == "__main__":
    main()
