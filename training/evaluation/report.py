"""An evaluation as Markdown for people, and as SVG curves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from feedmill.models.artifact import ModelCard
from feedmill.training.evaluation.filter_metrics import (
    DEMOTE_AT,
    HIDE_AT,
    DatasetReport,
    OrdinaryReport,
)
from feedmill.training.evaluation.plots import Panel, svg

MODE_TITLES = {
    "stored": "The stored model, on rows that neither trained it nor chose its thresholds",
    "folds": "Grouped cross-validation: each group scored by a model that learned none of it",
    "alone": "Grouped cross-validation within one set, without other sets and ordinary posts",
    "left out": "Sets left out: each scored by a model that learned from the other sets alone",
}
_COUNTS = (("rows", "rows"), ("violating", "violating"))
_COLUMNS = (
    ("AUC", "auc"),
    ("average precision", "average_precision"),
    ("recall at 1 % of its fine", "recall_at_1_percent"),
    ("recall at 1 % of ordinary", "recall_at_ordinary"),
    ("calibration error", "calibration_error"),
    (f"caught at {DEMOTE_AT:g}", "caught_demoted"),
    (f"caught at {HIDE_AT:g}", "caught_hidden"),
    (f"fine at {DEMOTE_AT:g}", "fine_demoted"),
    (f"fine at {HIDE_AT:g}", "fine_hidden"),
)


class FilterReport(msgspec.Struct, frozen=True):
    """The evaluation of one filter; `card` is None if no stored model was evaluated."""

    filter: str
    card: ModelCard | None
    datasets: list[DatasetReport] = msgspec.field(name="sets")
    ordinary: list[OrdinaryReport]


class Evaluation(msgspec.Struct, frozen=True):
    """One run; `together` is what all filters of the store do to the ordinary posts."""

    filters: list[FilterReport]
    together: list[OrdinaryReport]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a Markdown table; its columns from `left` on hold numbers."""
    rule = ["---"] * left + ["--:"] * (len(header) - left)
    return [f"| {' | '.join(line)} |" for line in (header, rule, *rows)]


def percent(part: float) -> str:
    """Return a fraction in percent."""
    return f"{100 * part:.2f} %"


def datasets_table(reports: Sequence[DatasetReport]) -> list[str]:
    """Return the metrics of data sets, one line each."""
    rows = [
        [
            report.name,
            *(f"{getattr(report.metrics, name):,}" for _, name in _COUNTS),
            f"{report.pooled_auc:.3f}",
            *(f"{getattr(report.metrics, name):.3f}" for _, name in _COLUMNS),
        ]
        for report in reports
    ]
    titles = [title for title, _ in (*_COUNTS, ("AUC, pooled", ""), *_COLUMNS)]
    return table(["set", *titles], rows)


def ordinary_table(reports: Sequence[OrdinaryReport]) -> list[str]:
    """Return what is hidden and demoted of ordinary posts, one line a source."""
    header = ["ordinary posts", "rows", "hidden", "demoted", "hidden, not flagged"]
    rows = [
        [
            report.source,
            f"{report.rows:,}",
            percent(report.hidden),
            percent(report.demoted),
            percent(report.not_flagged_hidden),
            percent(report.not_flagged_demoted),
        ]
        for report in reports
    ]
    return table([*header, "demoted, not flagged"], rows)


def slices_table(reports: Sequence[DatasetReport]) -> list[str]:
    """Return the slices of data sets, one line each."""
    rows = [
        [
            *(report.name, f"{part.by}: {part.value}", f"{part.rows:,}", f"{part.violating:,}"),
            "" if part.auc is None else f"{part.auc:.3f}",
            f"{part.caught:.3f}" if part.violating else "",
            f"{part.false_alarms:.3f}" if part.violating < part.rows else "",
        ]
        for report in reports
        for part in report.slices
    ]
    header = ["set", "slice", "rows", "violating", "AUC"]
    return table([*header, f"caught at {DEMOTE_AT:g}", f"fine at {DEMOTE_AT:g}"], rows, left=2)


def filter_lines(report: FilterReport, heading: str = "##") -> list[str]:
    """Return the sections of one filter: tables by mode, slices, worst errors."""
    lines: list[str] = []
    for mode, title in MODE_TITLES.items():
        in_mode = [dataset for dataset in report.datasets if dataset.mode == mode]
        if not in_mode:
            continue
        lines += [f"{heading} {title}", "", *datasets_table(in_mode), ""]
        lines += [f"- {dataset.name}: {_note(dataset)}" for dataset in in_mode] + [""]
        if with_slices := [dataset for dataset in in_mode if dataset.slices]:
            lines += ["Slices:", "", *slices_table(with_slices), ""]
        lines += ["Worst errors, by id (`<set>-<row>`):", ""]
        lines += [line for dataset in in_mode for line in _worst(dataset)] + [""]
    if report.ordinary:
        lines += [f"{heading} Ordinary posts, by this filter alone", ""]
        lines += [*ordinary_table(report.ordinary), ""]
    return lines


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
        lines += [f"## {report.filter}: {version}", "", *filter_lines(report, "###")]
    if evaluation.together:
        lines += ["## Ordinary posts, by all filters together", ""]
        lines += [*ordinary_table(evaluation.together), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def plot_name(filter_name: str, report: DatasetReport) -> str:
    """Return the file name of a data set's curves."""
    return f"{filter_name}-{report.name}-{report.mode.replace(' ', '-')}.svg"


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
