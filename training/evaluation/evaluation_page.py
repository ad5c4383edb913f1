"""The page docs/filters.md: every filter evaluated in every mode, beside the bars of its recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from feedmill.filters.registry import FILTERS
from feedmill.models.cards import card_lines
from feedmill.training.evaluation.bars import Bar
from feedmill.training.evaluation.filter_metrics import DatasetReport, OrdinaryReport
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    filter_lines,
    ordinary_table,
    plot,
    plot_name,
    table,
)
from feedmill.training.training_data import recipe_of

_MAX_HIDDEN, _MAX_DEMOTED = 0.01, 0.03
_HEAD = """\
# The filters

What the shipped filters catch, what they do to ordinary posts, and what they cannot do. This page
is made by `make evaluate`, which is `feedmill evaluate --all --docs docs`; nothing in it is written
by hand.

The value of a filter is the probability that a post violates. By default a post is demoted from 0.6
and hidden from 0.9. The rows of a file are split by whole groups (video, subreddit, domain, opening
words) into train, validation (which chooses the thresholds) and test; the cards call the test rows
"judge rows". There are four modes of evaluation:

- **stored**: the shipped model, on the test rows of each file;
- **folds**: a set is divided into folds by groups, and each fold is scored by a model that learned
  from the other folds, from the filter's other sets and from ordinary posts;
- **alone**: the same, but the model learned from the other folds alone: how far words carry within
  one set;
- **left out**: each set is scored by a model that learned from the other sets alone, as if it came
  from a platform never seen before.

In each mode a row is dropped if the model learned its group or its text (digits aside). "Fine" are
the posts of the same set that do not violate; *ordinary* are posts of Reddit, Facebook pages,
Hacker News and Bluesky that nobody labelled, where each source weighs alike. A recall at 1 % is the
fraction caught at the threshold that 1 % of the fine, or of the ordinary posts, exceed. For
cross-validation we show the mean over folds, and beside it the AUC of all rows together ("pooled").
"Flagged" is Reddit's own flag over_18.
"""


def write_page(evaluation: Evaluation, docs: Path) -> None:
    """Write ``filters.md`` and its curves below ``filters/``; curves of before are deleted."""
    plots = docs / "filters"
    plots.mkdir(parents=True, exist_ok=True)
    for path in plots.glob("*.svg"):
        path.unlink()
    for report in evaluation.filters:
        for dataset in report.datasets:
            path = plots / plot_name(report.filter, dataset)
            path.write_text(plot(report.filter, dataset), "utf-8")
    (docs / "filters.md").write_text(page(evaluation), encoding="utf-8")


def page(evaluation: Evaluation) -> str:
    """Return the page as Markdown."""
    lines = [*_HEAD.splitlines(), "", *_bar_lines(evaluation)]
    for report in evaluation.filters:
        lines += [f"## {report.filter}", ""]
        if report.card:
            lines += [*card_lines(report.card, "###"), ""]
        lines += filter_lines(report, "###")
        if report.datasets:
            lines += ["### Curves", "", *_curves(report), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _curves(report: FilterReport) -> list[str]:
    return [
        f"![{report.filter} on {d.name}, {d.mode}](filters/{plot_name(report.filter, d)})"
        for d in report.datasets
    ]


def _bar_lines(evaluation: Evaluation) -> list[str]:
    if not evaluation.together:
        return []
    rows = [*_filter_rows(evaluation), *_ordinary_rows(evaluation.together)]
    header = ["filter", "set", "mode", "metric", "bar", "measured", "reached"]
    return [
        *("## The bars", "", *table(header, rows, left=4), ""),
        *("## Ordinary posts, by all filters together", ""),
        *(*ordinary_table(evaluation.together), ""),
        *("Liar is for research only: it is measured, by models that are thrown away.", ""),
    ]


def _filter_rows(evaluation: Evaluation) -> Iterator[list[str]]:
    """Yield a row for each bar of a recipe whose data set was evaluated."""
    reports = {(f.filter, d.name, d.mode): d for f in evaluation.filters for d in f.datasets}
    for name, spec in FILTERS.items():
        for bar in recipe_of(spec).bars:
            report = reports.get((name, bar.dataset, bar.mode))
            if report is not None:
                yield _bar_row(name, bar, report)


def _bar_row(name: str, bar: Bar, report: DatasetReport) -> list[str]:
    measured: float = getattr(report.metrics, bar.metric)
    cells = [name, bar.dataset, bar.mode, bar.metric.replace("_", " ")]
    limit = f"{'≤' if bar.at_most else '≥'} {bar.value:g}"
    return [*cells, limit, f"{measured:.4f}", _reached(bar.is_reached(measured))]


def _ordinary_rows(together: Sequence[OrdinaryReport]) -> Iterator[list[str]]:
    """Yield what all filters hide and demote of the source where they do it most."""
    hidden = max(together, key=lambda report: report.hidden)
    demoted = max(together, key=lambda report: report.demoted)
    for metric, source, measured, limit in (
        ("hidden", hidden.source, hidden.hidden, _MAX_HIDDEN),
        ("demoted", demoted.source, demoted.demoted, _MAX_DEMOTED),
    ):
        where = f"ordinary posts of {source}, the most of any source"
        cells = ["all", where, "stored", metric, f"≤ {limit:g}", f"{measured:.4f}"]
        yield [*cells, _reached(measured <= limit)]


def _reached(reached: bool) -> str:
    return "yes" if reached else "**no**"
