"""The page docs/filters.md: every filter judged in every mode, beside the bars it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from feedmill.models.cards import card_lines
from feedmill.training.evaluation.filters import DatasetReport, Mode
from feedmill.training.evaluation.report import (
    Evaluation,
    filter_lines,
    ordinary_table,
    plot,
    plot_name,
    table,
)


@dataclass(frozen=True)
class _Bar:
    """What a filter must reach on a set; `at_most` where less is better."""

    filter: str
    set: str
    mode: Mode
    measure: str
    value: float
    at_most: bool = False


_BARS = (
    _Bar("spam", "sms", "left out", "auc", 0.95),
    _Bar("spam", "sms", "left out", "recall_at_1_percent", 0.55),
    _Bar("spam", "youtube", "left out", "auc", 0.87),
    _Bar("spam", "youtube", "left out", "recall_at_1_percent", 0.30),
    _Bar("spam", "youtube", "folds", "auc", 0.985),
    _Bar("spam", "youtube", "alone", "auc", 0.985),
    _Bar("spam", "youtube", "folds", "recall_at_1_percent", 0.87),
    _Bar("spam", "youtube", "alone", "recall_at_1_percent", 0.87),
    _Bar("spam", "sms", "folds", "auc", 0.995),
    _Bar("spam", "sms", "alone", "auc", 0.995),
    _Bar("spam", "sms", "folds", "recall_at_1_percent", 0.95),
    _Bar("spam", "sms", "alone", "recall_at_1_percent", 0.95),
    _Bar("spam", "youtube", "stored", "caught_demoted", 0.80),
    _Bar("spam", "sms", "stored", "caught_demoted", 0.88),
    _Bar("nsfw", "reddit_over18", "folds", "auc", 0.71),
    _Bar("nsfw", "reddit_over18", "alone", "auc", 0.71),
    _Bar("nsfw", "reddit_over18", "folds", "recall_at_ordinary", 0.25),
    _Bar("nsfw", "reddit_over18", "alone", "recall_at_ordinary", 0.25),
    _Bar("nsfw", "reddit_over18", "stored", "caught_demoted", 0.25),
    _Bar("misinformation", "covid", "folds", "auc", 0.975),
    _Bar("misinformation", "covid", "alone", "auc", 0.975),
    _Bar("misinformation", "fakenewsnet", "folds", "auc", 0.86),
    _Bar("misinformation", "fakenewsnet", "alone", "auc", 0.86),
    _Bar("misinformation", "liar", "alone", "auc", 0.64),
    _Bar("misinformation", "covid", "stored", "caught_demoted", 0.75),
    _Bar("misinformation", "covid", "stored", "fine_demoted", 0.10, at_most=True),
    _Bar("misinformation", "covid", "stored", "fine_hidden", 0.01, at_most=True),
)
_MOST_HIDDEN, _MOST_DEMOTED = 0.01, 0.03
_HEAD = """\
# The filters

What the shipped filters catch, what they do to ordinary posts, and what they cannot do. Made by
`make judge`, which is `feedmill evaluate --all --docs docs`; nothing here is written by hand.

A filter says with which probability a post violates. Unless an operator sets other thresholds, a
post is demoted from 0.6 and hidden from 0.9. Four ways of judging are kept apart:

- **stored**: the shipped model, on the rows of each file that were set apart: whole groups (video,
  subreddit, domain, opening words) that neither trained it nor chose a threshold;
- **folds**: a set is parted by groups, and each part judged by a model that learned from the rest
  of it, from the filter's other sets and from ordinary posts;
- **alone**: the same, learning from that set alone: how far words carry at home;
- **left out**: each set is judged by a model that learned from the other sets alone, as a platform
  never seen.

In each, a row whose group or text (numbers aside) also taught the model is dropped. "Fine" are the
posts of the same set that do not violate; *ordinary* are posts of Reddit, Facebook pages, Hacker
News and Bluesky that nobody labelled, each source weighing alike. A recall at 1 % is the share
caught by the threshold that 1 % of the fine, or of the ordinary posts, exceed. Of cross-validation
the mean of the folds is shown, and the AUC of all rows together beside it ("pooled"). "Flagged" is
Reddit's own over_18.
"""


def write_page(found: Evaluation, docs: Path) -> None:
    """Write ``filters.md`` and its curves below ``filters/``; old curves go."""
    plots = docs / "filters"
    plots.mkdir(parents=True, exist_ok=True)
    for path in plots.glob("*.svg"):
        path.unlink()
    for report in found.filters:
        for one in report.sets:
            (plots / plot_name(report.filter, one)).write_text(plot(report.filter, one), "utf-8")
    (docs / "filters.md").write_text(page(found), encoding="utf-8")


def page(found: Evaluation) -> str:
    """Return the page."""
    lines = [*_HEAD.splitlines(), "", *_bar_lines(found)]
    for report in found.filters:
        lines += [f"## {report.filter}", ""]
        if report.card:
            lines += [*card_lines(report.card, "###"), ""]
        lines += filter_lines(report, "###")
        lines += ["### Curves", ""]
        for one in report.sets:
            path = f"filters/{plot_name(report.filter, one)}"
            lines.append(f"![{report.filter} on {one.name}, {one.mode}]({path})")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _bar_lines(found: Evaluation) -> list[str]:
    reports = {(f.filter, one.name, one.mode): one for f in found.filters for one in f.sets}
    rows = []
    for bar in _BARS:
        report = reports.get((bar.filter, bar.set, bar.mode))
        if report is not None:
            rows.append(_bar_row(bar, report))
    if not found.together:
        return []
    worst = max(found.together, key=lambda one: one.hidden)
    most = max(found.together, key=lambda one: one.demoted)
    for what, source, share, most_of_all in (
        ("hidden", worst.source, worst.hidden, _MOST_HIDDEN),
        ("demoted", most.source, most.demoted, _MOST_DEMOTED),
    ):
        where = f"ordinary posts of {source}, the most of any source"
        rows.append(
            [
                "all",
                where,
                "stored",
                what,
                f"≤ {most_of_all:g}",
                f"{share:.4f}",
                _reached(share <= most_of_all),
            ]
        )
    header = ["filter", "set", "judged", "measure", "bar", "measured", "reached"]
    return [
        *("## The bars", "", *table(header, rows, left=4), ""),
        *("## Ordinary posts, by all filters together", "", *ordinary_table(found.together), ""),
        *("Liar is for research only: it is measured, by models that are thrown away.", ""),
    ]


def _bar_row(bar: _Bar, report: DatasetReport) -> list[str]:
    measured: float = getattr(report.measures, bar.measure)
    reached = measured <= bar.value if bar.at_most else measured >= bar.value
    sign = "≤" if bar.at_most else "≥"
    cells = [bar.filter, bar.set, bar.mode, bar.measure.replace("_", " ")]
    return [*cells, f"{sign} {bar.value:g}", f"{measured:.4f}", _reached(reached)]


def _reached(reached: bool) -> str:
    return "yes" if reached else "**no**"
