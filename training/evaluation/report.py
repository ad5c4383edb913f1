"""An evaluation as Markdown for people, and as SVG curves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.models.artifact import ModelCard
from feedmill.training.evaluation.bars import MIN_CELL_ROWS, MIN_GROUP_ROWS, OTHER_MODELS
from feedmill.training.evaluation.filter_metrics import (
    DatasetReport,
    FilterMetrics,
)
from feedmill.training.evaluation.health_posts import HealthReport
from feedmill.training.evaluation.intervals import NOTHING_KNOWN, Figure
from feedmill.training.evaluation.local_labels import LocalReport
from feedmill.training.evaluation.ordinary_posts import ALL, Cell, OrdinaryReport
from feedmill.training.evaluation.plots import Panel, svg
from feedmill.training.evaluation.stored_models import Comparison

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
# What a page says of models that nobody ships.
_FEW_COLUMNS = tuple(_COLUMNS[i] for i in (0, 2, 4, 6))


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
    health: list[HealthReport]
    local: list[LocalReport] = msgspec.field(default_factory=list)

    @property
    def rows_by_source(self) -> list[tuple[str, int]]:
        """How many rows of each source were evaluated by the stored models."""
        cells = self.together.cells if self.together else []
        stored = [d for report in self.filters for d in report.datasets if d.mode == "stored"]
        return [
            *((dataset.name, dataset.metrics.rows) for dataset in stored),
            *((cell.source, cell.rows) for cell in cells if cell.length == ALL),
        ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a Markdown table; its columns from `left` on hold numbers."""
    rule = ["---"] * left + ["--:"] * (len(header) - left)
    return [f"| {' | '.join(line)} |" for line in (header, rule, *rows)]


def percent(figure: Figure) -> str:
    """Return a fraction and its interval in percent."""
    value, low, high = (f"{100 * part:.2f}" for part in (figure.value, figure.low, figure.high))
    return f"{value} ({low} to {high})"


def datasets_table(reports: Sequence[DatasetReport]) -> list[str]:
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


def few_figures_table(reports: Sequence[DatasetReport]) -> list[str]:
    """Return the metrics that tell most of data sets, one line each."""
    rows = [[report.name, *_metrics(report.metrics, _FEW_COLUMNS)] for report in reports]
    header = ["set", "rows", "violating", "groups", *(title for title, _ in _FEW_COLUMNS)]
    return table(header, rows)


def _metrics(metrics: FilterMetrics, columns: Sequence[tuple[str, str]] = _COLUMNS) -> list[str]:
    counts = (metrics.rows, metrics.violating, metrics.groups)
    figures = [getattr(metrics, name) for _, name in columns]
    return [
        *(f"{n:,}" for n in counts),
        *("" if figure == NOTHING_KNOWN else str(figure) for figure in figures),
    ]


def ordinary_lines(report: OrdinaryReport) -> list[str]:
    """Return what is hidden and demoted of ordinary posts, by source and length, in percent."""
    rows = [
        [*_cell_names(cell), percent(cell.hidden), percent(cell.demoted)] for cell in report.cells
    ]
    header = ["source", "characters", "rows", "groups", "hidden, %", "demoted, not hidden, %"]
    return [
        f"On {report.split}.  Cells with fewer than {MIN_CELL_ROWS} rows prove little.",
        "",
        *table(header, rows, left=2),
        "",
        _judged_groups(report),
    ]


def _cell_names(cell: Cell) -> list[str]:
    return [cell.source, cell.length, f"{cell.rows:,}", f"{cell.groups:,}"]


def alone_lines(reports: Sequence[FilterReport]) -> list[str]:
    """Return what each filter alone does to ordinary posts, in cells with rows enough."""
    judged = [(report.filter, report.ordinary) for report in reports if report.ordinary]
    tables = zip(*(ordinary.cells for _, ordinary in judged), strict=True)
    cells = [row for row in tables if row[0].rows >= MIN_CELL_ROWS]
    rows = [[*_cell_names(row[0])[:2], *(percent(cell.demoted) for cell in row)] for row in cells]
    hidden = [
        f"{name} {percent(cell.hidden)} % of {cell.source}, {cell.length} characters"
        for row in cells
        for (name, _), cell in zip(judged, row, strict=True)
        if cell.hidden.value and ALL not in (cell.source, cell.length)
    ]
    header = ["source", "characters", *(f"{name}, %" for name, _ in judged)]
    return [
        f"Demoted and not hidden by each filter alone, in cells with {MIN_CELL_ROWS} rows or more.",
        "",
        *table(header, rows, left=2),
        "",
        f"Hidden by one alone: {'; '.join(hidden) or 'none'}.",
    ]


def _judged_groups(report: OrdinaryReport) -> str:
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


def health_table(reports: Sequence[HealthReport]) -> list[str]:
    """Return what is demoted or hidden of posts about health, one line a source and model."""
    rows = [
        [
            report.source,
            "trained without the source" if report.left_out else "stored",
            f"{report.rows:,}",
            percent(report.demoted),
        ]
        for report in reports
    ]
    return table(["source", "model", "rows", "demoted or hidden, %"], rows, left=2)


def local_table(reports: Sequence[LocalReport]) -> list[str]:
    """Return what labels of a product's own are worth, one line a source and number of labels."""
    rows = [
        [
            *(report.name, report.protocol, "yes" if report.lexicon else "no", f"{report.labels}"),
            f"{report.base:.3f}",
            str(report.recall),
        ]
        for report in reports
    ]
    header = ["source", "judged", "hand-written lexicon", "labels"]
    return table([*header, "recall at 1 % without labels", "with labels"], rows, left=3)


def slices_table(reports: Sequence[DatasetReport]) -> list[str]:
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


def filter_lines(report: FilterReport) -> list[str]:
    """Return the sections of one filter: tables by mode, slices, worst errors."""
    lines = _not_looked_at_lines(report)
    for mode, title in MODE_TITLES.items():
        in_mode = [dataset for dataset in report.datasets if dataset.mode == mode]
        if not in_mode:
            continue
        lines += [f"### {title}", "", *datasets_table(in_mode), "", *_details(in_mode)]
    if report.comparisons:
        lines += ["### Paired differences from another stored model", ""]
        lines += [*_comparison_table(report.comparisons), ""]
    if report.ordinary is not None:
        lines += ["### Ordinary posts, by this filter alone", ""]
        lines += [*ordinary_lines(report.ordinary), ""]
    return lines


def page_lines(report: FilterReport) -> list[str]:
    """Return the sections of one filter for its page: what ships whole, of other models less."""
    lines = _not_looked_at_lines(report)
    for mode, title in MODE_TITLES.items():
        in_mode = [dataset for dataset in report.datasets if dataset.mode == mode]
        if in_mode and mode in OTHER_MODELS:
            lines += [f"### {title}", "", *few_figures_table(in_mode), "", *_notes(in_mode)]
        elif in_mode:
            lines += [f"### {title}", "", *datasets_table(in_mode), "", *_details(in_mode)]
    return lines


def _not_looked_at_lines(report: FilterReport) -> list[str]:
    files = ", ".join(report.not_looked_at)
    line = f"The stored model was not evaluated on {files}: give --look to do so."
    return [line, ""] if files else []


def _notes(datasets: Sequence[DatasetReport]) -> list[str]:
    return [*(f"- {dataset.name}: {_note(dataset)}" for dataset in datasets), ""]


def _details(datasets: Sequence[DatasetReport]) -> list[str]:
    """Return notes, slices and worst errors."""
    lines = _notes(datasets)
    if with_slices := [dataset for dataset in datasets if dataset.slices]:
        lines += ["Slices:", "", *slices_table(with_slices), ""]
    lines += ["Worst errors, by id (`<set>-<row>`):", ""]
    return [*lines, *(line for dataset in datasets for line in _worst(dataset)), ""]


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
        lines += [f"## {report.filter}: {version}", "", *filter_lines(report)]
    if evaluation.together is not None:
        lines += ["## Ordinary posts, by all filters together", ""]
        lines += [*ordinary_lines(evaluation.together), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def plot_name(filter_name: str, report: DatasetReport) -> str:
    """Return the file name of a data set's curves."""
    return f"{filter_name}-{report.name}-{report.mode.replace(',', '').replace(' ', '-')}.svg"


def plot(filter_name: str, report: DatasetReport) -> str:
    """Return a data set's ROC, precision and calibration curves as SVG."""
    calibration = [(mean, violating) for _, mean, violating in report.calibration]
    return svg(
        f"{filter_name} on {report.name} ({report.mode})",
        (
            Panel("ROC", "false positive rate", "recall", report.roc, diagonal=True),
            Panel("precision and recall", "recall", "precision", report.precision),
            Panel(
                *("calibration", "probability", "share violating", calibration),
                diagonal=True,
                dots=True,
            ),
        ),
    )
