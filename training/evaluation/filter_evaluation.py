"""Run the evaluation of a filter on files, and report what was found as Markdown and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.filters.model import STORE, FilterSpec
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard, read_card, store_with
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    cross_validate,
    leave_one_dataset_out,
)
from feedmill.training.evaluation.filter_metrics import DatasetReport, FilterMetrics, svg
from feedmill.training.evaluation.intervals import NOTHING_KNOWN, Figure
from feedmill.training.evaluation.ordinary_posts import (
    ALL,
    MIN_CELL_ROWS,
    MIN_GROUP_ROWS,
    OrdinaryReport,
    evaluate_ordinary,
)
from feedmill.training.evaluation.stored_models import (
    Comparison,
    compare_stored,
    evaluate_stored,
    ordinary_rows,
)
from feedmill.training.training_data import Dataset, TrainingData

MODE_TITLES = {
    "stored": "The stored model, on rows that neither trained it nor chose its thresholds",
    "folds": "Other models: grouped cross-validation of the recipe",
    "alone": "Other models: grouped cross-validation within one set, without ordinary posts",
    "left out": "Other models: each set by a model that learned from the other sets alone",
    "left out, with lexicon": "Other models: the same, with the lexicon of people who read both",
}
_COLUMNS = (
    ("AUC", "auc"),
    ("average precision", "average_precision"),
    ("recall at 1 % of its fine", "recall_at_1_percent"),
    ("calibration error", "calibration_error"),
    (f"caught at {DEMOTE_AT:g}", "caught_demoted"),
    (f"caught at {HIDE_AT:g}", "caught_hidden"),
    (f"fine at {DEMOTE_AT:g}", "fine_demoted"),
    (f"fine at {HIDE_AT:g}", "fine_hidden"),
)
StoredModel = tuple[TextModel, ModelCard]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table; its columns from `left` on hold numbers."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return [f"| {' | '.join(line)} |" for line in (head, rule, *rows)]


def page_text(lines: Sequence[str]) -> str:
    """Return the lines of a page as its text, with one line break at its end."""
    return "\n".join(lines).rstrip("\n") + "\n"


class FilterReport(msgspec.Struct, frozen=True):
    """The evaluation of one filter; `card` is None if no stored model was evaluated.

    `not_looked_at` are the files whose test rows were not evaluated, as nobody asked for a look.
    """

    filter: str
    card: ModelCard | None
    datasets: list[DatasetReport] = msgspec.field(name="sets")
    not_looked_at: list[str]
    ordinary: OrdinaryReport | None
    comparisons: list[Comparison] = msgspec.field(default_factory=list)


class Evaluation(msgspec.Struct, frozen=True):
    """One run; `together` is what all filters of the store do to the ordinary posts."""

    filters: list[FilterReport]
    together: OrdinaryReport | None

    @property
    def rows_by_source(self) -> list[tuple[str, int]]:
        """How many rows of each source were evaluated by the stored models."""
        cells = self.together.cells if self.together else []
        stored = [d for report in self.filters for d in report.datasets if d.mode == "stored"]
        return [
            *((dataset.name, dataset.metrics.rows) for dataset in stored),
            *((cell.source, cell.rows) for cell in cells if cell.length == ALL),
        ]


def percent(figure: Figure) -> str:
    """Return a fraction and its interval in percent."""
    value, low, high = (f"{100 * part:.2f}" for part in (figure.value, figure.low, figure.high))
    return f"{value} ({low} to {high})"


def _datasets_table(reports: Sequence[DatasetReport]) -> list[str]:
    """Return the metrics of data sets, one line each, and of their large groups below."""
    rows = []
    for report in reports:
        rows.append([report.name, *_metrics(report.metrics)])
        for group in report.large_groups:
            part = f"{100 * group.part_of_violating:.0f} % of violating"
            name = f"{report.name}: `{group.name}`"
            rows.append([f"{name} alone, {part}", *_metrics(group.inside)])
            if group.without is not None:
                rows.append([f"{name} left away", *_metrics(group.without)])
    return table(["set", "rows", "violating", "groups", *(title for title, _ in _COLUMNS)], rows)


def _metrics(metrics: FilterMetrics) -> list[str]:
    counts = (metrics.rows, metrics.violating, metrics.groups)
    figures = [getattr(metrics, name) for _, name in _COLUMNS]
    return [
        *(f"{n:,}" for n in counts),
        *("" if figure == NOTHING_KNOWN else str(figure) for figure in figures),
    ]


def _ordinary_lines(report: OrdinaryReport) -> list[str]:
    """Return what is hidden and demoted of ordinary posts, by source and length, in percent."""
    rows = [
        [
            *(cell.source, cell.length, f"{cell.rows:,}", f"{cell.groups:,}"),
            *(percent(cell.hidden), percent(cell.demoted)),
        ]
        for cell in report.cells
    ]
    header = ["source", "characters", "rows", "groups", "hidden, %", "demoted, not hidden, %"]
    return [
        f"On {report.split}.  Cells with fewer than {MIN_CELL_ROWS} rows prove little.",
        "",
        *table(header, rows, left=2),
        "",
        judged_groups(report),
    ]


def judged_groups(report: OrdinaryReport) -> str:
    """Return the sentence on groups of which more is hidden than may be."""
    if not report.judged_groups:
        return (
            f"No community, page, author or host is known that has {MIN_GROUP_ROWS} posts or more,"
            " so none is judged by itself."
        )
    return (
        f"Of {report.judged_groups} communities, pages, authors and hosts with {MIN_GROUP_ROWS} "
        f"posts or more, these have more hidden than may be: {_hidden_groups(report)}."
    )


def _hidden_groups(report: OrdinaryReport) -> str:
    return (
        "; ".join(
            f"{group.kind} `{group.name}`, {percent(group.hidden)} % of {group.rows:,}"
            for group in report.hidden_groups
        )
        or "none"
    )


def _slices_table(reports: Sequence[DatasetReport]) -> list[str]:
    """Return the slices of data sets, one line each."""
    rows = [
        [
            *(report.name, f"{part.by}: {part.value}", f"{part.rows:,}", f"{part.violating:,}"),
            str(part.auc) if 0 < part.violating < part.rows else "",
            str(part.caught) if part.violating else "",
            str(part.false_alarms) if part.violating < part.rows else "",
        ]
        for report in reports
        for part in report.slices
        if part.rows < report.metrics.rows
    ]
    header = ["set", "slice", "rows", "violating", "AUC"]
    return table([*header, f"caught at {DEMOTE_AT:g}", f"fine at {DEMOTE_AT:g}"], rows, left=2)


def _mode_lines(report: FilterReport) -> list[str]:
    """Return what was measured on labelled posts, mode by mode."""
    lines = []
    if report.not_looked_at:
        files = ", ".join(report.not_looked_at)
        lines += [f"The stored model was not evaluated on {files}: give --look to do so.", ""]
    for mode, title in MODE_TITLES.items():
        in_mode = [dataset for dataset in report.datasets if dataset.mode == mode]
        if in_mode:
            lines += [f"### {title}", "", *_datasets_table(in_mode), ""]
            lines += [*(f"- {dataset.name}: {_note(dataset)}" for dataset in in_mode), ""]
            lines += _details(in_mode)
    return lines


def _filter_lines(report: FilterReport) -> list[str]:
    lines = _mode_lines(report)
    if report.comparisons:
        lines += ["### Paired differences from another stored model", ""]
        lines += [*_comparison_table(report.comparisons), ""]
    if report.ordinary is not None:
        lines += ["### Ordinary posts, by this filter alone", ""]
        lines += [*_ordinary_lines(report.ordinary), ""]
    return lines


def _details(datasets: Sequence[DatasetReport]) -> list[str]:
    """Return slices and worst errors."""
    lines = []
    if with_slices := [dataset for dataset in datasets if dataset.slices]:
        lines += ["Slices:", "", *_slices_table(with_slices), ""]
    if worst := [line for dataset in datasets for line in _worst(dataset)]:
        lines += ["Worst errors, by id (`<set>-<row>`):", "", *worst, ""]
    return lines


def _comparison_table(comparisons: Sequence[Comparison]) -> list[str]:
    rows = [
        [c.name, c.other, f"{c.rows:,}", *map(str, (c.auc, c.caught_demoted, c.fine_demoted))]
        for c in comparisons
    ]
    header = ["set", "less", "rows", "AUC", f"caught at {DEMOTE_AT:g}", f"fine at {DEMOTE_AT:g}"]
    return table(header, rows, left=2)


def _note(report: DatasetReport) -> str:
    dropped = f"; {report.dropped} rows dropped that a model had learned" if report.dropped else ""
    return f"{report.note}{dropped}"


def _worst(report: DatasetReport) -> list[str]:
    return [
        f"- {report.name}, {what}: {', '.join(ids)}"
        for what, ids in (
            ("fine but scored highest", report.worst_fine),
            ("violating but scored lowest", report.worst_violating),
        )
        if ids
    ]


def as_markdown(evaluation: Evaluation) -> str:
    """Return the whole report of one run."""
    lines = ["# What the filters do", ""]
    for report in evaluation.filters:
        version = f"`{report.filter}@{report.card.version}`" if report.card else "trained here"
        lines += [f"## {report.filter}: {version}", "", *_filter_lines(report)]
    if evaluation.together is not None:
        lines += ["## Ordinary posts, by all filters together", ""]
        lines += [*_ordinary_lines(evaluation.together), ""]
    return page_text(lines)


def plot_name(filter_name: str, report: DatasetReport) -> str:
    """Return the file name of a data set's curves."""
    return f"{filter_name}-{report.name}-{report.mode.replace(',', '').replace(' ', '-')}.svg"


def plot(filter_name: str, report: DatasetReport) -> str:
    """Return a data set's ROC, precision and calibration curves as SVG."""
    return svg(f"{filter_name} on {report.name} ({report.mode})", report.curves)


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

    Raises `UsageError`: the data do not allow one of the modes; `BadArtifact`: a store's model
    cannot be read.
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
