"""What an evaluation of a ranker found, and the figures of rankers with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from bars import Bar

from feedmill.models.artifact import ModelCard
from feedmill.training.arrays import Mask, Values, Weights
from feedmill.training.evaluation.intervals import NOTHING_KNOWN, Bootstrap, Figure
from feedmill.training.evaluation.markdown import table
from feedmill.training.evaluation.metrics import rank_correlation, ranks
from feedmill.training.evaluation.plots import Panel
from feedmill.training.evaluation.ranker_metrics import calibration_bins, slope_parts


@dataclass(frozen=True)
class Section:
    """A table of a report: `head` names the columns, the first of them is text."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def lines(self) -> list[str]:
        """The section, below a heading of the third level."""
        note = [self.note, ""] if self.note else []
        return [f"### {self.title}", "", *note, *table(self.head, self.rows), ""]


@dataclass(frozen=True)
class RankerEvaluation:
    """What was found of one ranker; `rows` are the test rows looked at, by source."""

    name: str
    card: ModelCard | None
    bars: list[Bar] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    rows: list[tuple[str, int]] = field(default_factory=list)

    def expect(self, what: str, figure: Figure, **bounds: float) -> None:
        """Add a bar; `bounds` are those of `Bar`."""
        self.bars.append(Bar((self.name, what), figure, **bounds))

    def add(
        self, title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Add a section with a table."""
        self.sections.append(Section(title, note, head, rows))


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
    ranked = np.stack([ranks(column) / len(truth) for column in (*scores, truth)], axis=1)

    def measure(drawn: Weights) -> Values:
        total = drawn.sum(axis=1)[:, None]
        means = drawn @ ranked / total
        squares = drawn @ ranked**2 / total - means**2
        products = drawn @ (ranked[:, :-1] * ranked[:, -1:]) / total - means[:, :-1] * means[:, -1:]
        spread = np.sqrt(np.maximum(squares[:, :-1] * squares[:, -1:], 0))
        found = np.where(spread > 1e-12, products / np.maximum(spread, 1e-12), 0.0)
        return np.concatenate([found, found[:, :1] - found[:, 1:]], axis=1)

    return bootstrap.figures(measure)


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


def length_slices(texts: Sequence[str]) -> list[tuple[str, Mask]]:
    """Return the rows of each range of lengths, in characters, by its name."""
    lengths = np.array([len(text) for text in texts])
    return [
        (f"{low + 1} to {high} characters", (lengths > low) & (lengths <= high))
        for low, high in pairwise((0, 60, 100, 200, 400, 2_000))
    ]


def within_group_correlations(
    scores: Values, truth: Values, groups: npt.NDArray[np.str_], least_rows: int = 20
) -> Values:
    """Return Spearman's correlation within each group of so many rows: (groups,)."""
    names, group_of = np.unique(groups, return_inverse=True)
    rows_of = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    large = [rows for rows in rows_of if len(rows) >= least_rows] if len(names) else []
    return np.array([rank_correlation(scores[rows], truth[rows]) for rows in large])


def ndcg(scores: Values, gains: Values, at: int = 10) -> float:
    """Return the normalised discounted cumulative gain of the first rows (Jarvelin 2002).

    Rows with equal scores share the discounts of their places.  0 where no row gains anything.
    """
    discounts = np.zeros(len(gains))
    discounts[:at] = 1 / np.log2(np.arange(2, min(at, len(gains)) + 2))
    best = float(np.sort(gains)[::-1] @ discounts)
    if not best:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    place = np.unique(-scores[order], return_inverse=True)[1]
    shared = (np.bincount(place, discounts) / np.bincount(place))[place]
    return float(gains[order] @ shared) / best
