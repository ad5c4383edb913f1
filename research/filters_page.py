"""The page docs/filters.md: every filter evaluated in every mode, beside the bars of a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bars import bar_lines
from filter_bars import MAX_DEMOTED, MAX_HIDDEN, OTHER_MODELS, cell_bars, filter_bars, other_bars
from health_posts import HealthReport
from local_labels import DRAWS, LocalReport

from feedmill.models.cards import card_lines, common_lines, own_cards
from feedmill.training.evaluation.looks import Look
from feedmill.training.evaluation.markdown import page_text, table
from feedmill.training.evaluation.ordinary_posts import ALL, MIN_CELL_ROWS
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    cell_names,
    mode_lines,
    ordinary_lines,
    percent,
    plot,
    plot_name,
)

_HEAD = """\
# The filters

What the shipped filters catch, what they do to ordinary posts, and what they cannot do. This page
is made by `make evaluate LOOK=why`; nothing in it is written by hand.

The value of a filter is the probability that a post violates. By default a post is demoted from 0.6
and hidden from 0.9; *caught* is demoted or hidden. The rows of a file are split by whole groups
(video, subreddit, domain, opening words) into train, validation (which chooses the thresholds) and
test. The test rows are looked at only on purpose (`--look WHY`), and each look is logged
[below](#looks). The modes of evaluation:

- **stored**: the shipped model, at the shipped thresholds, on the test rows of each file;
- **left out** are *other models*, made by the same recipe with fewer ordinary posts: a set is
  scored by a model that learned from the other sets alone, as if it came from a platform never seen
  before. Lists by people who had read the sets are left out too, and shown apart.

In each mode a row is dropped if the model learned its group or its text (digits aside). "Fine" are
the posts of the same set that do not violate; *ordinary* are posts that nobody labelled, and the
fine posts of other sets. Ordinary posts of more than 2,000 characters are mostly made of the posts
of one group.

Figures have their interval of 95 % in brackets: by 1,000 draws of whole groups with replacement
where there are 20 groups or more, else by rows; fractions have at least Wilson's binomial interval.
A group with more than 5 % of the violating rows is shown apart. Where "end" is written, a bar holds
for that end of the interval, else for the figure itself. Why bars are missed:
[learning curves](learning-curves.md).
"""


_LOCAL = f"""\
`feedmill train spam --base …`: the base learned from the other sets alone, with their lexicon and
thresholds. Half of the labels violate. The mean of {DRAWS} draws, with the lowest and the highest.
"""


@dataclass(frozen=True)
class WholeEvaluation:
    """All filters of a store in every mode, posts about health, and labels of a product's own."""

    evaluation: Evaluation
    health: list[HealthReport]
    local: list[LocalReport]


def curves(evaluation: Evaluation) -> dict[str, str]:
    """Return the curves of each data set as SVG, by their file's name."""
    return {
        plot_name(report.filter, dataset): plot(report.filter, dataset)
        for report in evaluation.filters
        for dataset in report.datasets
    }


def page(whole: WholeEvaluation, looks: Sequence[Look]) -> str:
    """Return the page as Markdown."""
    evaluation = whole.evaluation
    lines = [*_HEAD.splitlines(), "", *_bar_lines(whole), *_look_lines(looks)]
    if evaluation.together is not None:
        lines += ["## Ordinary posts, by all filters together", ""]
        lines += [*ordinary_lines(evaluation.together), "", *alone_lines(evaluation.filters), ""]
    if whole.health:
        lines += ["## Ordinary posts about health, by the filter of misinformation", ""]
        lines += [*_health_table(whole.health), ""]
    if whole.local:
        lines += ["## Labels of a product's own, on a base that never saw the source", "", _LOCAL]
        lines += [*_local_table(whole.local), ""]
    cards = [report.card for report in evaluation.filters if report.card]
    common, own = common_lines(cards, "###"), iter(own_cards(cards))
    lines += ["## All filters", "", *common] if common else []
    for report in evaluation.filters:
        lines += [f"## {report.filter}", ""]
        if report.card:
            lines += [*card_lines(next(own), "###"), ""]
        lines += mode_lines(report, brief=OTHER_MODELS)
        if report.datasets:
            lines += ["### Curves", "", *_curves(report), ""]
    return page_text(lines)


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


def _bar_lines(whole: WholeEvaluation) -> list[str]:
    together = whole.evaluation.together
    of_sets = [*filter_bars(whole.evaluation.filters)]
    of_cells = [] if together is None else cell_bars(together.cells)
    others = [*other_bars(together, whole.local, whole.health)]
    missed = [bar for bar in of_cells if not bar.is_reached]
    note = (
        f"\nThe {len(of_cells) - len(missed)} others are of cells of ordinary posts with"
        f" {MIN_CELL_ROWS}\nrows or more, below, and reached: at most {MAX_HIDDEN:g} hidden and"
        f" {MAX_DEMOTED:g}\ndemoted, of pooled cells by the end of the interval."
    )
    bars, shown = [*of_sets, *of_cells, *others], [*of_sets, *missed, *others]
    return bar_lines(["filter", "what", "model"], bars, shown, note)


def alone_lines(reports: Sequence[FilterReport]) -> list[str]:
    """Return what each filter alone does to ordinary posts, in cells with rows enough."""
    judged = [(report.filter, report.ordinary) for report in reports if report.ordinary]
    tables = zip(*(ordinary.cells for _, ordinary in judged), strict=True)
    cells = [row for row in tables if row[0].rows >= MIN_CELL_ROWS]
    rows = [[*cell_names(row[0])[:2], *(percent(cell.demoted) for cell in row)] for row in cells]
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


def _health_table(reports: Sequence[HealthReport]) -> list[str]:
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


def _local_table(reports: Sequence[LocalReport]) -> list[str]:
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
