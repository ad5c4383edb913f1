"""What a filter says of a batch of posts, as one source after the other lowers or raises it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(slots=True)
class Verdicts:
    """Columns over the posts of one batch.

    Attributes
    ----------
    values
        (n,) float64 in [0, 1]; anything where there is an error.
    errors
        By position why the model failed; such a post has no value, and the gate decides.
    reasons
        By position what else than the model decided, in a few words for `Signal.reason`.
    rules
        By position the rule of an operator that decided, whatever was said before.
    """

    values: Values
    errors: Mapping[int, str]
    reasons: dict[int, str] = field(default_factory=dict)
    rules: dict[int, str] = field(default_factory=dict)

    def lower(self, rows: Mapping[int, tuple[float, str]]) -> None:
        """Set the values at these positions, with the reason."""
        for row, (value, reason) in rows.items():
            self.values[row], self.reasons[row] = value, reason

    def raise_to(self, rows: range, values: Values, reason: Callable[[int], str]) -> None:
        """Take the larger of (len(rows),) values at these rows; `reason` says why, by position."""
        for i in np.flatnonzero(values > self.values[rows.start : rows.stop]).tolist():
            self.values[rows[i]], self.reasons[rows[i]] = values[i], reason(i)

    def rule(self, row: int, value: float, rule: str) -> None:
        """Set the value at this position, for a rule has the last word."""
        self.values[row], self.rules[row] = value, rule
        self.reasons.pop(row, None)
