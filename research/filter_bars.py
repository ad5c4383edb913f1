"""What a release of the filters must reach, on rows that nobody trained, tuned or looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bars import Bar
from health_posts import HealthReport
from local_labels import OTHERS, LocalReport

from feedmill.training.evaluation.filter_metrics import FilterMetrics, Mode
from feedmill.training.evaluation.intervals import Figure, wilson
from feedmill.training.evaluation.ordinary_posts import ALL, MIN_CELL_ROWS, Cell, OrdinaryReport
from feedmill.training.evaluation.report import FilterReport

# Models that are trained to be evaluated and thrown away: what ships is another model.
OTHER_MODELS: tuple[Mode, ...] = ("folds", "alone", "left out", "left out, with lexicon")
# Ordinary posts of every source and length with rows enough, by all filters together.
MAX_HIDDEN, MAX_DEMOTED = 0.01, 0.03
# The recall at 1 % after 200 labels of a source left out entirely, the mean of ten draws.
_LABELS = 200
_MIN_RECALL_AFTER_LABELS = {"youtube": 0.75, "sms": 0.90}
# Posts with words of health, of sources that did not train the filter of misinformation.
_MAX_HEALTH_DEMOTED = 0.10


class _Limit(NamedTuple):
    """What a filter must reach on a data set: `least`, or `most` where less is better.

    `metric` is a field of `FilterMetrics`.  With `without_largest` the group with most violating
    rows does not count.
    """

    filter: str
    dataset: str
    mode: Mode
    metric: str
    least: float = -float("inf")
    most: float = float("inf")
    without_largest: bool = False


_LIMITS = (
    _Limit("spam", "youtube", "stored", "caught_demoted", 0.75),
    _Limit("spam", "sms", "stored", "caught_demoted", 0.92),
    _Limit("spam", "youtube", "left out", "auc", 0.80),
    _Limit("spam", "sms", "left out", "auc", 0.90),
    _Limit("nsfw", "reddit_over18", "stored", "auc", 0.69, without_largest=True),
    _Limit("nsfw", "reddit_over18", "stored", "caught_demoted", 0.13, without_largest=True),
    _Limit("nsfw", "reddit_over18", "stored", "fine_demoted", most=0.02),
    _Limit("misinformation", "covid", "stored", "caught_demoted", 0.75),
)


def filter_bars(reports: Sequence[FilterReport]) -> Iterator[Bar]:
    """Yield the bars of labelled posts, as far as the reports have them."""
    datasets = {(f.filter, d.name, d.mode): d for f in reports for d in f.datasets}
    for limit in _LIMITS:
        report = datasets.get(limit[:3])
        if report is None:
            continue
        metrics: FilterMetrics = report.metrics
        what = f"{limit.dataset}: {limit.metric.replace('_', ' ')}"
        if limit.without_largest:
            what += ", without its largest group"
            if report.large_groups and report.large_groups[0].without is not None:
                metrics = report.large_groups[0].without
        model = f"other: {limit.mode}" if limit.mode in OTHER_MODELS else "shipped"
        figure: Figure = getattr(metrics, limit.metric)
        yield Bar((limit.filter, what, model), figure, least=limit.least, most=limit.most)


def cell_bars(cells: Sequence[Cell]) -> list[Bar]:
    """Return the bars of ordinary posts: of every cell, and of the pooled cells at the end."""
    bars = []
    for cell in cells:
        for name, figure, limit in (
            ("hidden", cell.hidden, MAX_HIDDEN),
            ("demoted", cell.demoted, MAX_DEMOTED),
        ):
            what = f"ordinary posts, {cell.source}, {cell.length} characters: {name}"
            bound = "high" if ALL in (cell.source, cell.length) else "most"
            if cell.rows >= MIN_CELL_ROWS:
                bars.append(Bar(("all", what, "shipped"), figure, **{bound: limit}))
    return bars


def other_bars(
    together: OrdinaryReport | None, local: Sequence[LocalReport], health: Sequence[HealthReport]
) -> Iterator[Bar]:
    """Yield the bars of groups of ordinary posts, of labels of a product's own, and of health."""
    if together is not None:
        what = f"{together.judged_groups} communities, pages, authors and hosts: too much hidden"
        figure = wilson(len(together.hidden_groups), together.judged_groups)
        yield Bar(("all", what, "shipped"), figure, most=0.0)
    for one in local:
        least = _MIN_RECALL_AFTER_LABELS.get(one.name)
        if least is not None and one.labels == _LABELS and OTHERS in one.protocol:
            what = f"{one.name}: recall at 1 % after {one.labels} labels, {one.protocol}"
            if not one.lexicon:
                yield Bar(("spam", what, "other: base left out"), one.recall, least=least)
    for report in health:
        model = "other: trained without the source" if report.left_out else "shipped"
        what = f"posts of {report.source} about health demoted or hidden"
        yield Bar(("misinformation", what, model), report.demoted, most=_MAX_HEALTH_DEMOTED)
