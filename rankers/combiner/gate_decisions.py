"""The gates' decisions about all posts under one policy; feeds with equal policies share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.gating import ABSENT, HOLD, decide_many, grace_ms
from feedmill.rankers.combiner.mapped_column import MappedColumn
from feedmill.rankers.combiner.row_decision import decide_row
from feedmill.rankers.combiner.signal_columns import RowSelection

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView

# With fewer rows plain Python is quicker than numpy.
_MANY_FROM = 4


class GateDecisions:
    """Decision and demote factor of every post under one gate policy.

    Attributes
    ----------
    gates
        The policy.
    has_open_gate
        Whether some required gate lets posts pass without its verdict after a grace.
    """

    def __init__(self, view: PostView, gates: Mapping[str, GatePolicy]) -> None:
        self.gates = gates
        self._open_gates = [g for g in gates.values() if g.required and g.on_failure == "open"]
        self.has_open_gate = bool(self._open_gates)
        self._code = MappedColumn(np.uint8, ABSENT)
        self._factor = MappedColumn(np.float64, 1.0)
        self._view = view
        self.grow()

    @property
    def code(self) -> npt.NDArray[np.uint8]:
        """Shape (n,): a decision of `gating`, `ABSENT` where there is no post."""
        return self._code.values

    def factors(self, rows: RowSelection) -> npt.NDArray[np.float64]:
        """The products of demote factors of these rows."""
        return self._factor.values[rows]

    def factor_of(self, row: int) -> float:
        """The product of demote factors of one row."""
        factor: float = self._factor.cells[row]
        return factor

    def update(self, rows: RowSelection, now_ms: int) -> None:
        """Decide these rows anew; those of a slice without overrides."""
        view = self._view
        self.grow()
        if not isinstance(rows, slice) and len(rows) < _MANY_FROM:
            self._decide_each(rows, now_ms)
            return
        offset = view.post.offset[rows]
        columns = {name: view.signals[name] for name in self.gates}
        code, factor = decide_many(
            self.gates,
            {name: column.value[rows] for name, column in columns.items()},
            {name: column.is_current(rows) for name, column in columns.items()},
            view.post.arrived_ms[rows],
            now_ms,
        )
        code[offset == NO_POST] = ABSENT
        self.code[rows] = code
        self._factor.values[rows] = factor
        if len(view.overrides) and not isinstance(rows, slice):
            self._decide_each(rows[view.overridden.among(rows, view.post.author)], now_ms)

    def grow(self) -> None:
        """Make room for all rows of the view."""
        self._code.grow(self._view.capacity)
        self._factor.grow(self._view.capacity)

    def grace_ended(self, since_ms: int, now_ms: int) -> npt.NDArray[np.int32]:
        """Rows held so far for which some open gate's grace ended in (since_ms, now_ms]."""
        held = np.flatnonzero(self.code == HOLD)
        arrived_ms = self._view.post.arrived_ms[held]
        ended = np.zeros(len(held), bool)
        for gate in self._open_gates:
            end_ms = arrived_ms + grace_ms(gate)
            ended |= (since_ms < end_ms) & (end_ms <= now_ms)
        return held[ended].astype(np.int32)

    def _decide_each(self, rows: npt.NDArray[np.int32], now_ms: int) -> None:
        """Decide rows one by one, with overrides."""
        view = self._view
        for row in rows.tolist():
            code, factor = ABSENT, 1.0
            if view.post.offset.item(row) != NO_POST:
                decision = decide_row(view, row, self.gates, now_ms)
                code, factor = decision.code, decision.factor
            self._code.cells[row] = code
            self._factor.cells[row] = factor
