"""The gates' decisions about the rows of the view, with overrides, and who decided one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.gating import (
    ABSENT,
    DECISIONS,
    HOLD,
    PASSED,
    Decision,
    GateVerdict,
    decide_many,
    decide_one,
    grace_ms,
    outcomes_of,
    passes,
)
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.signal_columns import RowSelection
from feedmill.tables.mapped_column import MappedColumn

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView

# With fewer rows plain Python is quicker than numpy.
_MANY_FROM = 4


class GateDecisions:
    """Decision and demote factor of every post under one gate policy, which feeds may share.

    Attributes
    ----------
    view, gates
        The posts, and the policy.
    has_open_gate
        Whether some required gate lets posts pass without its verdict after a grace.
    code, factor
        By row a decision of `gating`, `ABSENT` where there is no post, and the product of the
        demote factors.
    """

    def __init__(self, view: PostView, gates: Mapping[str, GatePolicy]) -> None:
        self.gates = gates
        self._open_gates = [g for g in gates.values() if g.required and g.on_failure == "open"]
        self.has_open_gate = bool(self._open_gates)
        self.code = MappedColumn(np.uint8, ABSENT)
        self.factor = MappedColumn(np.float64, 1.0)
        self.view = view
        self._counts = [0] * len(DECISIONS)
        self.factor.grow(view.capacity, is_filled=False)  # `update` fills all rows in parts
        self.grow()

    @property
    def counts(self) -> dict[str, int]:
        """How many posts have each decision."""
        return dict(zip(DECISIONS[:ABSENT], self._counts, strict=False))

    def update(self, rows: RowSelection, now_ms: int) -> None:
        """Decide these rows anew; those of a slice without overrides."""
        view = self.view
        self.grow()
        if not isinstance(rows, slice) and len(rows) < _MANY_FROM:
            self._decide_each(rows, now_ms)
            return
        offset = view.post.offset[rows]
        columns = {name: view.signals[name] for name in self.gates}
        code, factor = decide_many(
            self.gates,
            {name: column.value.values[rows] for name, column in columns.items()},
            {name: column.is_current(rows) for name, column in columns.items()},
            view.post.arrived_ms[rows],
            now_ms,
        )
        code[offset == NO_POST] = ABSENT
        more = _count(code) - _count(self.code.values[rows])
        self._counts = [count + n for count, n in zip(self._counts, more.tolist(), strict=True)]
        self.code.values[rows] = code
        self.factor.values[rows] = factor
        if len(view.overrides) and not isinstance(rows, slice):
            self._decide_each(rows[view.overridden.among(rows, view.post.author)], now_ms)

    def grow(self) -> None:
        """Make room for all rows of the view."""
        self.code.grow(self.view.capacity)
        self.factor.grow(self.view.capacity)

    def holds(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Whether these rows, decided before, wait for a verdict."""
        is_held: npt.NDArray[np.bool_] = self.code.values[rows] == HOLD
        return is_held

    def grace_ended(self, part: slice, since_ms: int, now_ms: int) -> npt.NDArray[np.int32]:
        """Held rows of a part for which some open gate's grace ended in (since_ms, now_ms]."""
        held: npt.NDArray[np.intp] = np.flatnonzero(self.code.values[part] == HOLD) + part.start
        arrived_ms = self.view.post.arrived_ms[held]
        ended = np.zeros(len(held), bool)
        for gate in self._open_gates:
            end_ms = arrived_ms + grace_ms(gate)
            ended |= (since_ms < end_ms) & (end_ms <= now_ms)
        return held[ended].astype(np.int32)

    def _decide_each(self, rows: npt.NDArray[np.int32], now_ms: int) -> None:
        """Decide rows one by one, with overrides."""
        view = self.view
        for row in rows.tolist():
            code, factor = ABSENT, 1.0
            if view.post.offset.item(row) != NO_POST:
                decision = decide_row(view, row, self.gates, now_ms)
                code, factor = decision.code, decision.factor
            self._counts[self.code.cells[row]] -= 1
            self._counts[code] += 1
            self.code.cells[row] = code
            self.factor.cells[row] = factor


def _count(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How often each decision is among these."""
    counts: npt.NDArray[np.int64] = np.bincount(code, minlength=len(DECISIONS))
    return counts


def decide_row(view: PostView, row: int, gates: Mapping[str, GatePolicy], now_ms: int) -> Decision:
    """Decide the post in a row under a policy, as of a time in Unix milliseconds."""
    overrides: Mapping[str, ActiveOverride] = {}
    if view.is_overridden(row):
        overrides = view.overrides_of(row, tuple(gates), now_ms)
    else:
        # The others do nothing.
        gates = {
            name: gate
            for name, gate in gates.items()
            if gate.required and not passes(gate, view.signals[name].current_value(row))
        }
        if not gates:
            return PASSED
    verdicts = {name: verdict_of(view, row, name) for name in gates if name not in overrides}
    arrived_ms = int(view.post.arrived_ms[row])
    return decide_one(gates, outcomes_of(gates, verdicts, overrides, arrived_ms, now_ms))


def decide_rows(
    view: PostView, rows: npt.NDArray[np.int32], gates: Mapping[str, GatePolicy], now_ms: int
) -> Iterator[tuple[int, Decision]]:
    """Decide the posts in many rows, and yield the place of each that does not simply pass."""
    passing = ~view.overridden.among(rows, view.post.author)
    for name, gate in gates.items():
        if gate.required:
            # Of a threshold rounded to float32, a value that reaches the exact one is never below.
            passing &= passes(gate, view.signals[name].current_values(rows))
    for place in np.flatnonzero(~passing).tolist():
        yield place, decide_row(view, int(rows[place]), gates, now_ms)


def verdict_of(view: PostView, row: int, gate: str) -> GateVerdict:
    """Return the verdict of a gate on the present version of the post in a row."""
    judged = view.signals[gate].verdict(row)
    return GateVerdict.missing(gate) if judged is None else GateVerdict.of(gate, *judged)
