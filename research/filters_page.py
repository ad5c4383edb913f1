"""The page docs/filters.md: every filter evaluated in every mode, beside the bars of a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bars import bar_lines
from filter_bars import MAX_DEMOTED, MAX_HIDDEN, OTHER_MODELS, cell_bars, filter_bars, other_bars
from health_posts import HealthReport
from local_labels import DRAWS, LocalReport
from msgspec.structs import replace

from feedmill.models.cards import card_lines, common_lines, own_cards
from feedmill.training.evaluation.markdown import page_text, table
from feedmill.training.evaluation.ordinary_posts import MIN_CELL_ROWS, OrdinaryReport
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    cell_names,
    judged_groups,
    mode_lines,
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
test. The test rows are looked at only on purpose (`--look WHY`), and each look is logged, with
what it was for and the models, in [looks.jsonl](looks.jsonl). The modes of evaluation:

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
The largest group is shown apart if more than 5 % of the violating rows are its own. Where "end" is
written, a bar holds for that end of the interval, else for the figure itself. Why bars are missed:
[the decision](decisions/filter-models.md#where-they-end).
"""


_LOCAL = f"""\
`feedmill train spam --base …`: the base learned from the other sets alone, with their lexicon and
thresholds. Half of the labels violate. The recall at 1 % of the fine posts: the mean of {DRAWS}
draws, with the lowest and the highest.
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


def page(whole: WholeEvaluation) -> str:
    """Return the page as Markdown."""
    evaluation = whole.evaluation
    lines = [*_HEAD.splitlines(), "", *_bar_lines(whole)]
    if evaluation.together is not None:
        lines += ["## Ordinary posts, by all filters together", ""]
        lines += [*ordinary_lines(evaluation.together, evaluation.filters), ""]
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
        lines += mode_lines(_shortened(report), brief=OTHER_MODELS)
        if report.datasets:
            lines += ["### Curves", "", *_curves(report), ""]
    return page_text(lines)


def _shortened(report: FilterReport) -> FilterReport:
    """Return a report with the largest group of each set alone, and no worst errors."""
    datasets = [
        replace(
            dataset,
            large_groups=[one for one in dataset.large_groups[:1] if one.without is not None],
            worst_fine=[],
            worst_violating=[],
        )
        for dataset in report.datasets
    ]
    return replace(report, datasets=datasets)


def _curves(report: FilterReport) -> list[str]:
    return [
        f"![{report.filter} on {d.name}, {d.mode}](filters/{plot_name(report.filter, d)})"
        for d in report.datasets
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


def ordinary_lines(together: OrdinaryReport, reports: Sequence[FilterReport]) -> list[str]:
    """Return what all filters, and each one alone, do to ordinary posts, in cells of many rows."""
    judged = [(report.filter, report.ordinary) for report in reports if report.ordinary]
    aligned = zip(together.cells, *(ordinary.cells for _, ordinary in judged), strict=True)
    cells = [row for row in aligned if row[0].rows >= MIN_CELL_ROWS]
    rows = [
        [*cell_names(both), percent(both.hidden), *(percent(one.demoted) for one in (both, *each))]
        for both, *each in cells
    ]
    header = ["source", "characters", "rows", "groups", "hidden, %", "demoted, not hidden, %"]
    return [
        f"On {together.split}, in cells with {MIN_CELL_ROWS} rows or more.  The last columns are"
        " what each filter demotes alone.",
        "",
        *table([*header, *(f"{name}, %" for name, _ in judged)], rows, left=2),
        "",
        judged_groups(together),
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
    """Return what labels of a product's own are worth, one line a source and way of judging."""
    counts = sorted({report.labels for report in reports})
    found: dict[tuple[str, str, bool, float], dict[int, str]] = {}
    for report in reports:
        place = (report.name, report.protocol, report.lexicon, report.base)
        found.setdefault(place, {})[report.labels] = str(report.recall)
    rows = [
        [
            name,
            protocol,
            "yes" if lexicon else "no",
            f"{base:.3f}",
            *(recalls.get(n, "") for n in counts),
        ]
        for (name, protocol, lexicon, base), recalls in found.items()
    ]
    header = ["source", "judged", "hand-written lexicon", "without labels"]
    return table([*header, *(f"{count} labels" for count in counts)], rows, left=3)
