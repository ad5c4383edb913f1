"""What a filter must reach: a value of one metric, on one data set, in one mode of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["stored", "folds", "alone", "left out"]


@dataclass(frozen=True)
class Bar:
    """What a filter must reach on a data set; `at_most` where less is better.

    `metric` is a field of `FilterMetrics`.
    """

    dataset: str
    mode: Mode
    metric: str
    value: float
    at_most: bool = False

    def is_reached(self, measured: float) -> bool:
        """Whether a measured value is good enough."""
        return measured <= self.value if self.at_most else measured >= self.value
