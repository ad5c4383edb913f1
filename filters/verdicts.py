"""A filter's verdicts on a batch of posts: the model's, then what else decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feedmill.events.signal import RuleVerdict, Signal

Values = npt.NDArray[np.float64]


def float32_below(threshold: float) -> float:
    """Return the highest value of a signal, a float32, below a threshold of a gate; 0 below 0."""
    below = np.float32(threshold)
    if float(below) >= threshold:
        below = np.nextafter(below, np.float32(0))
    return float(below)


@dataclass(slots=True)
class BatchVerdicts:
    """The verdicts on the n posts of one batch, by their rows.

    Attributes
    ----------
    values
        (n,) float64 in [0, 1]; meaningless where there is an error.
    errors
        By row why the model failed; such a post has no value, and its gate's policy decides.
    reasons
        By row what decided instead of the model, in a few words for `Signal.reason`.
    rules
        By row the operator's rule that decides, whatever else was found.
    """

    values: Values
    errors: Mapping[int, str]
    reasons: dict[int, str] = field(default_factory=dict)
    rules: dict[int, RuleVerdict] = field(default_factory=dict)

    def lower(self, rows: Mapping[int, tuple[float, str]]) -> None:
        """Set values and reasons, by row."""
        for row, (value, reason) in rows.items():
            self.values[row], self.reasons[row] = value, reason

    def raise_to(self, rows: range, values: Values, reason: Callable[[int], str]) -> None:
        """Raise the values of these rows to (len(rows),) values where those are larger.

        `reason` returns the reason for the i-th of the rows.
        """
        for i in np.flatnonzero(values > self.values[rows.start : rows.stop]).tolist():
            self.values[rows[i]], self.reasons[rows[i]] = values[i], reason(i)

    def signals(
        self, posts: Iterable[tuple[int, str, int, str]], at_ms: int, model: str, revision: int = 0
    ) -> Iterator[Signal]:
        """Return the signal of each post; its rule's, if a rule decides.

        Of a post `posts` has the row, the id, the offset of its record, and the version of the
        model that judged it.
        """
        values = self.values.astype(np.float32).tolist()
        if self.errors or self.reasons or self.rules:
            return self._with_reasons(values, posts, at_ms, model, revision)
        signals = [
            Signal(post_id, offset, values[row], model, version, at_ms, None, None, None, revision)
            for row, post_id, offset, version in posts
        ]
        return iter(signals)

    def _with_reasons(
        self,
        values: Sequence[float],
        posts: Iterable[tuple[int, str, int, str]],
        at_ms: int,
        model: str,
        revision: int,
    ) -> Iterator[Signal]:
        for row, post_id, offset, version in posts:
            error = self.errors.get(row)
            value, reason = None, None
            if error is None:
                value, reason = values[row], self.reasons.get(row)
            signal = Signal(
                post_id, offset, value, model, version, at_ms, error, reason, None, revision
            )
            yield signal.with_rule(self.rules[row], at_ms) if row in self.rules else signal
