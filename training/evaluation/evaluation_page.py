"""The page docs/filters.md: every filter evaluated in every mode, beside the bars of a release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from feedmill.models.cards import card_lines, common_lines, own_cards
from feedmill.training.evaluation.bars import (
    BARS,
    LABELS_OF_BAR,
    MAX_DEMOTED,
    MAX_HEALTH_DEMOTED,
    MAX_HIDDEN,
    MIN_CELL_ROWS,
    MIN_RECALL_AFTER_LABELS,
    OTHER_MODELS,
    Bar,
)
from feedmill.training.evaluation.filter_metrics import DatasetReport, FilterMetrics
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.local_labels import DRAWS, OTHERS
from feedmill.training.evaluation.looks import Look
from feedmill.training.evaluation.ordinary_posts import ALL, Cell
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    alone_lines,
    health_table,
    local_table,
    ordinary_lines,
    page_lines,
    plot,
    plot_name,
    table,
)

_HEAD = """\
# The filters

What the shipped filters catch, what they do to ordinary posts, and what they cannot do. This page
is made by `make evaluate`, which is `feedmill evaluate --all --docs docs`; nothing in it is written
by hand.

The value of a filter is the probability that a post violates. By default a post is demoted from 0.6
and hidden from 0.9; *caught* is demoted or hidden. The rows of a file are split by whole groups
(video, subreddit, domain, opening words) into train, validation (which chooses the thresholds) and
test. The test rows are looked at only on purpose (`--look WHY`), and each look is logged
[below](#looks). The modes of evaluation:

- **stored**: the shipped model, at the shipped thresholds, on the test rows of each file;
- **left out** and **folds** are *other models*, made by the same recipe with fewer ordinary posts:
  a set is scored by a model that learned from the other sets alone, as if it came from a platform
  never seen before; or it is divided into folds by groups, each scored by a model of the other
  folds (`--folds`). Lists by people who had read the sets are left out too, and shown apart.

In each mode a row is dropped if the model learned its group or its text (digits aside). "Fine" are
the posts of the same set that do not violate; *ordinary* are posts that nobody labelled, and the
fine posts of other sets. Ordinary posts of more than 2,000 characters are mostly made of the posts
of one group.

Figures have their interval of 95 % in brackets: by 1,000 draws of whole groups with replacement
where there are 20 groups or more, else by rows; fractions have at least Wilson's binomial interval.
A group with more than 5 % of the violating rows is shown apart. Where "end" is written, a bar holds
for the unfavourable end of the interval, else for the figure itself. Why bars are missed:
[learning curves](learning-curves.md).
"""


_LOCAL = f"""\
`feedmill train spam --base …`: the base learned from the other sets alone, with their lexicon and
thresholds. Half of the labels violate. The mean of {DRAWS} draws, with the lowest and the highest.
"""


class _Row(NamedTuple):
    """A bar with what was measured."""

    filter: str
    what: str
    model: str
    bar: str
    measured: str
    is_reached: bool
    is_cell: bool = False

    @property
    def cells(self) -> list[str]:
        return [*self[:5], "yes" if self.is_reached else "**no**"]


def write_page(evaluation: Evaluation, looks: Sequence[Look], docs: Path) -> None:
    """Write ``filters.md`` and its curves below ``filters/``; curves of before are deleted."""
    plots = docs / "filters"
    plots.mkdir(parents=True, exist_ok=True)
    for path in plots.glob("*.svg"):
        path.unlink()
    for report in evaluation.filters:
        for dataset in report.datasets:
            path = plots / plot_name(report.filter, dataset)
            path.write_text(plot(report.filter, dataset), "utf-8")
    (docs / "filters.md").write_text(page(evaluation, looks), encoding="utf-8")


def page(evaluation: Evaluation, looks: Sequence[Look]) -> str:
    """Return the page as Markdown."""
    lines = [*_HEAD.splitlines(), "", *_bar_lines(evaluation), *_look_lines(looks)]
    if evaluation.together is not None:
        lines += ["## Ordinary posts, by all filters together", ""]
        lines += [*ordinary_lines(evaluation.together), "", *alone_lines(evaluation.filters), ""]
    if evaluation.health:
        lines += ["## Ordinary posts about health, by the filter of misinformation", ""]
        lines += [*health_table(evaluation.health), ""]
    if evaluation.local:
        lines += ["## Labels of a product's own, on a base that never saw the source", "", _LOCAL]
        lines += [*local_table(evaluation.local), ""]
    cards = [report.card for report in evaluation.filters if report.card]
    common, own = common_lines(cards, "###"), iter(own_cards(cards))
    lines += ["## All filters", "", *common] if common else []
    for report in evaluation.filters:
        lines += [f"## {report.filter}", ""]
        if report.card:
            lines += [*card_lines(next(own), "###"), ""]
        lines += page_lines(report)
        if report.datasets:
            lines += ["### Curves", "", *_curves(report), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _curves(report: FilterReport) -> list[str]:
    return [
        f"![{report.filter} on {d.name}, {d.mode}](filters/{plot_name(report.filter, d)})"
        for d in report.datasets
    ]


def _look_lines(looks: Sequence[Look]) -> list[str]:
    rows = [
        [str(number), look.day, look.why, ", ".join(look.models), f"{sum(look.rows.values()):,}"]
        for number, look in enumerate(looks, 1)
    ]
    header = ["look", "day", "why", "models", "test rows"]
    return [
        *("## Looks", "", f"The test rows of this split were looked at {len(looks)} times.", ""),
        *(table(header, rows, left=4) if looks else ()),
        *([""] if looks else ()),
    ]


def _bar_lines(evaluation: Evaluation) -> list[str]:
    rows = sorted(_rows(evaluation), key=lambda row: row.is_reached)
    missed = sum(not row.is_reached for row in rows)
    shown = [row for row in rows if not (row.is_cell and row.is_reached)]
    header = ["filter", "what", "model", "bar", "measured", "reached"]
    return [
        *("## The bars", "", f"Of {len(rows)} bars {missed} are missed; these come first."),
        f"The {len(rows) - len(shown)} others are of cells of ordinary posts with {MIN_CELL_ROWS}",
        f"rows or more, below, and reached: at most {MAX_HIDDEN:g} hidden and {MAX_DEMOTED:g}",
        "demoted, of pooled cells by the end of the interval.",
        *("", *table(header, [row.cells for row in shown], left=3), ""),
    ]


def _rows(evaluation: Evaluation) -> Iterator[_Row]:
    reports = {(f.filter, d.name, d.mode): d for f in evaluation.filters for d in f.datasets}
    for bar in BARS:
        report = reports.get((bar.filter, bar.dataset, bar.mode))
        if report is not None:
            yield _bar_row(bar, report)
    if evaluation.together is not None:
        yield from _cell_rows(evaluation.together.cells)
        groups = evaluation.together
        yield _Row(
            *("all", "communities, pages, authors, hosts with too much hidden", "shipped", "0"),
            *(f"{len(groups.hidden_groups)} of {groups.judged_groups}", not groups.hidden_groups),
        )
    for local in evaluation.local:
        least = MIN_RECALL_AFTER_LABELS.get(local.name)
        is_of_bar = local.labels == LABELS_OF_BAR and OTHERS in local.protocol
        if least is not None and is_of_bar and not local.lexicon:
            what = f"{local.name}: recall at 1 % after {local.labels} labels, {local.protocol}"
            limit, is_reached = f"≥ {least:g}", local.recall.value >= least
            yield _Row(
                *("spam", what, "other: base left out", limit, str(local.recall), is_reached)
            )
    for health in evaluation.health:
        yield _Row(
            *("misinformation", f"posts of {health.source} about health demoted or hidden"),
            "other: trained without the source" if health.left_out else "shipped",
            f"≤ {MAX_HEALTH_DEMOTED:g}",
            str(health.demoted),
            health.demoted.value <= MAX_HEALTH_DEMOTED,
        )


def _bar_row(bar: Bar, report: DatasetReport) -> _Row:
    metrics: FilterMetrics = report.metrics
    what = f"{bar.dataset}: {bar.metric.replace('_', ' ')}"
    if bar.without_largest:
        what += ", without its largest group"
        if report.large_groups and report.large_groups[0].without is not None:
            metrics = report.large_groups[0].without
    figure: Figure = getattr(metrics, bar.metric)
    limit = f"{'≤' if bar.at_most else '≥'} {bar.value:g}"
    model = f"other: {bar.mode}" if bar.mode in OTHER_MODELS else "shipped"
    return _Row(bar.filter, what, model, limit, str(figure), bar.is_reached(figure.value))


def _cell_rows(cells: Sequence[Cell]) -> Iterator[_Row]:
    """Yield the bars of ordinary posts: of every cell, and of the pooled cells at the end."""
    for cell in cells:
        if cell.rows < MIN_CELL_ROWS:
            continue
        is_pooled = ALL in (cell.source, cell.length)
        for name, figure, limit in (
            ("hidden", cell.hidden, MAX_HIDDEN),
            ("demoted", cell.demoted, MAX_DEMOTED),
        ):
            what = f"ordinary posts, {cell.source}, {cell.length} characters: {name}"
            measured = figure.high if is_pooled else figure.value
            end = " at the end" if is_pooled else ""
            is_reached = measured <= limit
            bar = f"≤ {limit:g}{end}"
            yield _Row("all", what, "shipped", bar, str(figure), is_reached, is_cell=True)
