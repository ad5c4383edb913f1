"""What an evaluation of a ranker found, and its page: `docs/rankers.md`, misses first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from feedmill.models.artifact import ModelCard
from feedmill.training.arrays import Mask, Values, Weights
from feedmill.training.evaluation.intervals import NOTHING_KNOWN, Bootstrap, Figure
from feedmill.training.evaluation.metrics import ranks
from feedmill.training.evaluation.plots import Panel
from feedmill.training.evaluation.ranker_metrics import calibration_bins, slope_parts


@dataclass(frozen=True)
class RankerBar:
    """What a figure must reach: `least` and `most` bound it, `low` and `high` its interval."""

    what: str
    figure: Figure
    least: float = -np.inf
    low: float = -np.inf
    most: float = np.inf
    high: float = np.inf

    @property
    def is_reached(self) -> bool:
        """Whether the figure is good enough."""
        value, low, high = self.figure.value, self.figure.low, self.figure.high
        return self.least <= value <= self.most and low >= self.low and high <= self.high

    @property
    def stated(self) -> str:
        """The bar in words."""
        named = (
            ("at least", self.least),
            ("at most", self.most),
            ("lower end at least", self.low),
            ("upper end at most", self.high),
        )
        return ", ".join(f"{words} {bound:g}" for words, bound in named if np.isfinite(bound))


@dataclass(frozen=True)
class Section:
    """A table of a report: `head` names the columns, the first of them is text."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class RankerEvaluation:
    """What was found of one ranker; `rows` are the test rows looked at, by source."""

    name: str
    card: ModelCard | None
    bars: list[RankerBar] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    rows: list[tuple[str, int]] = field(default_factory=list)


def mean_figures(
    bootstrap: Bootstrap, columns: Sequence[Values], weights: Values | None = None
) -> list[Figure]:
    """Return the weighted mean of each column of (rows,) values, with its interval."""
    values = np.stack(columns, axis=1)
    given = np.ones(len(values)) if weights is None else weights

    def measure(drawn: Weights) -> Values:
        total = drawn @ given
        return np.asarray((drawn @ (values * given[:, None])) / total[:, None])

    return bootstrap.figures(measure)


def correlation_figures(
    bootstrap: Bootstrap, scores: Sequence[Values], truth: Values
) -> list[Figure]:
    """Return Spearman's correlation of each with the truth, then of the first less each other.

    Each draw weighs the ranks that rows have among all rows.
    """
    ranked = np.stack([_ranks(column) for column in (*scores, truth)], axis=1)

    def measure(drawn: Weights) -> Values:
        total = drawn.sum(axis=1)[:, None]
        means = drawn @ ranked / total
        squares = drawn @ ranked**2 / total - means**2
        products = drawn @ (ranked[:, :-1] * ranked[:, -1:]) / total - means[:, :-1] * means[:, -1:]
        spread = np.sqrt(np.maximum(squares[:, :-1] * squares[:, -1:], 0))
        found = np.where(spread > 1e-12, products / np.maximum(spread, 1e-12), 0.0)
        return np.concatenate([found, found[:, :1] - found[:, 1:]], axis=1)

    return bootstrap.figures(measure)


def _ranks(values: Values) -> Values:

    return ranks(values) / len(values)


def group_figure(correlations: Values) -> Figure:
    """Return the mean over groups of one figure each, groups drawn with replacement."""
    if not len(correlations):
        return NOTHING_KNOWN
    names = [f"{i}" for i in range(len(correlations))]
    return mean_figures(Bootstrap(names), [correlations])[0]


def slope_figure(
    scores: Values, truth: Values, weights: Values, groups: npt.NDArray[np.str_]
) -> Figure:
    """Return `slope_within` with its interval, groups drawn with replacement."""
    shared, spread = slope_parts(scores, truth, weights, groups)

    def measure(drawn: Weights) -> Values:
        total = drawn @ spread
        return np.asarray(np.where(total > 0, drawn @ shared / np.maximum(total, 1e-300), 0.0))[
            :, None
        ]

    return Bootstrap(groups.tolist()).figures(measure)[0]


def calibration_figure(
    bootstrap: Bootstrap, predicted: Values, rates: Values, weights: Values
) -> Figure:
    """Return the calibration error over the mean rate, with its interval.

    Rows keep their bins in each draw.  A draw has the noise of the rows and its own, so it errs
    more than they do; the interval is moved down by what draws err more on average, to 0 at least.
    """
    bin_of = calibration_bins(predicted, weights)
    in_bin = np.eye(int(bin_of.max()) + 1)[bin_of]
    gaps = in_bin * (weights * (predicted - rates))[:, None]

    def measure(drawn: Weights) -> Values:
        return np.asarray(np.abs(drawn @ gaps).sum(axis=1) / (drawn @ (weights * rates)))[:, None]

    drawn: list[Values] = []

    def kept(weights_of_draws: Weights) -> Values:
        drawn.append(measure(weights_of_draws))
        return drawn[-1]

    figure = bootstrap.figures(kept)[0]
    excess = float(np.concatenate(drawn[1:]).mean()) - figure.value
    return Figure(figure.value, max(figure.low - excess, 0.0), max(figure.high - excess, 0.0))


def worst_ids(ids: Sequence[str], errors: Values, most: int = 8) -> list[tuple[str, str]]:
    """Return the rows with the largest errors, by id; never their texts."""
    return [(ids[i], f"{errors[i]:.3f}") for i in np.argsort(-errors, kind="stable")[:most]]


def page(evaluations: Sequence[RankerEvaluation], command: str) -> str:
    """Return the page as Markdown: bars that were missed come first."""
    bars = [(e.name, bar) for e in evaluations for bar in e.bars]
    missed = [row for row in bars if not row[1].is_reached]
    reached = [row for row in bars if row[1].is_reached]
    lines = [
        "# The rankers, evaluated",
        "",
        f"Written by `{command}`. Intervals are of 95 %, by the cluster bootstrap over groups; no",
        "row was scored by a model that had learned its group.",
        "[The cards](models/quality.md) say what the models learned from, and",
        "[a decision](decisions/ranker-models.md) why they are made so.",
        "",
        *_bar_lines(f"Bars missed: {len(missed)}", missed),
        *_bar_lines(f"Bars reached: {len(reached)}", reached),
    ]
    for evaluation in evaluations:
        version = f" `{evaluation.card.version}`" if evaluation.card else ""
        lines += [f"## {evaluation.name}{version}", ""]
        if evaluation.panels:
            lines += [f"![Curves of {evaluation.name}](rankers/{evaluation.name}.svg)", ""]
        for section in evaluation.sections:
            lines += section_lines(section)
    return "\n".join(lines).rstrip() + "\n"


def _bar_lines(title: str, bars: Sequence[tuple[str, RankerBar]]) -> list[str]:
    if not bars:
        return [f"## {title}", ""]
    rows = [(f"{name}: {bar.what}", str(bar.figure), bar.stated) for name, bar in bars]
    return ["## " + title, "", *_table(("figure", "measured", "bar"), rows), ""]


def section_lines(section: Section) -> list[str]:
    """Return the lines of a section as Markdown."""
    lines = [f"### {section.title}", ""]
    if section.note:
        lines += [section.note, ""]
    return [*lines, *_table(section.head, section.rows), ""]


def _table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    rule = "|".join(["---", *(["--:"] * (len(head) - 1))])
    return [
        f"| {' | '.join(head)} |",
        f"|{rule}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def length_slices(texts: Sequence[str]) -> list[tuple[str, Mask]]:
    """Return the rows of each range of lengths, in characters, by its name."""
    lengths = np.array([len(text) for text in texts])
    return [
        (f"{low + 1} to {high} characters", (lengths > low) & (lengths <= high))
        for low, high in pairwise((0, 60, 100, 200, 400, 2_000))
    ]
