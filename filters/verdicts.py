"""What a filter says of a batch of posts, as one source after the other lowers or raises it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feedmill.events.signal import RuleVerdict, Signal

Values = npt.NDArray[np.float64]


@dataclass(slots=True)
class BatchVerdicts:
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
        By position the rule of an operator that decides, whatever is said beside it.
    """

    values: Values
    errors: Mapping[int, str]
    reasons: dict[int, str] = field(default_factory=dict)
    rules: dict[int, RuleVerdict] = field(default_factory=dict)

    def lower(self, rows: Mapping[int, tuple[float, str]]) -> None:
        """Set the values at these positions, with the reason."""
        for row, (value, reason) in rows.items():
            self.values[row], self.reasons[row] = value, reason

    def raise_to(self, rows: range, values: Values, reason: Callable[[int], str]) -> None:
        """Take the larger of (len(rows),) values at these rows; `reason` says why, by position."""
        for i in np.flatnonzero(values > self.values[rows.start : rows.stop]).tolist():
            self.values[rows[i]], self.reasons[rows[i]] = values[i], reason(i)

    def signal(
        self, row: int, post_id: str, post_offset: int, at_ms: int, model: str, version: str
    ) -> Signal:
        """Return the signal of the post at this position, by this model; a rule goes before it."""
        error = self.errors.get(row)
        value = None if error is not None else float(np.float32(self.values[row]))
        reason = None if error is not None else self.reasons.get(row)
        signal = Signal(post_id, post_offset, value, model, version, at_ms, error, reason)
        return signal.with_rule(self.rules[row], at_ms) if row in self.rules else signal
