"""What a model must reach to be released, and the table of a page that says what it reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.markdown import table


@dataclass(frozen=True)
class Bar:
    """What a figure must reach: `least` and `most` bound it, `low` and `high` its interval.

    `names` say what the figure is, a cell of the table each.
    """

    names: tuple[str, ...]
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
            ("≥", self.least),
            ("≤", self.most),
            ("lower end ≥", self.low),
            ("upper end ≤", self.high),
        )
        return ", ".join(f"{words} {bound:g}" for words, bound in named if np.isfinite(bound))


def bar_lines(
    head: Sequence[str], bars: Sequence[Bar], shown: Sequence[Bar] | None = None, note: str = ""
) -> list[str]:
    """Return the section of the bars, missed ones first; `head` titles their names.

    A `note` says why only some of them are `shown`.
    """
    missed = sum(not bar.is_reached for bar in bars)
    rows = [
        [*bar.names, bar.stated, str(bar.figure), "yes" if bar.is_reached else "**no**"]
        for bar in sorted(bars if shown is None else shown, key=lambda bar: bar.is_reached)
    ]
    return [
        *("## The bars", "", f"Of {len(bars)} bars {missed} are missed; these come first.{note}"),
        *("", *table([*head, "bar", "measured", "reached"], rows, left=len(head)), ""),
    ]
