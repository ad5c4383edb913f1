"""A lens: one policy and one weighting laid over all posts; feeds that share them share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import NO_POST, grown
from feedmill.rankers.combiner.gating import ABSENT, DEMOTE, HOLD, decide_many
from feedmill.rankers.score import EPOCH_MS, HOUR_MS, LEAST_SUM

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView

# Some rows, or all of them as a slice.
Rows = npt.NDArray[np.int32] | slice


class GateDecisions:
    """Decision and demote factor of every post under one gate policy.

    Attributes
    ----------
    code
        uint8, a decision of `gating`.
    factor
        float64, the product of demote factors.
    """

    def __init__(self, view: PostView, gates: Mapping[str, GatePolicy]) -> None:
        self.gates = gates
        self.has_open_gate = any(g.required and g.on_failure == "open" for g in gates.values())
        self.code: npt.NDArray[np.uint8] = np.full(view.capacity, ABSENT, np.uint8)
        self.factor: npt.NDArray[np.float64] = np.ones(view.capacity)
        self._view = view

    def update(self, rows: Rows, now_ms: int) -> None:
        """Decide these rows anew."""
        view = self._view
        self.grow()
        offset = view.post.offset[rows]
        columns = {name: view.signals[name] for name in self.gates}
        code, factor = decide_many(
            self.gates,
            {name: column.value[rows] for name, column in columns.items()},
            {name: column.offset[rows] == offset for name, column in columns.items()},
            view.post.arrived_ms[rows],
            now_ms,
        )
        code[offset == NO_POST] = ABSENT
        self.code[rows] = code
        self.factor[rows] = factor
        if len(view.overrides):
            self._override(rows, now_ms)

    def grow(self) -> None:
        """Make room for all rows of the view."""
        if len(self.code) < self._view.capacity:
            self.code = grown(self.code, self._view.capacity, ABSENT)
            self.factor = grown(self.factor, self._view.capacity, 1.0)

    def _override(self, rows: Rows, now_ms: int) -> None:
        for row in self._overridden(rows):
            decision = self._view.decide(row, self.gates, now_ms)
            self.code[row] = decision.code
            self.factor[row] = decision.factor

    def _overridden(self, rows: Rows) -> list[int]:
        view = self._view
        if isinstance(rows, slice):
            found = {row for key in view.overrides.subjects() for row in view.rows_about(key)}
        else:
            found = {row for row in rows.tolist() if view.is_overridden(row)}
        return [row for row in found if view.post.offset[row] != NO_POST]

    def grace_ended(self, since_ms: int, now_ms: int) -> list[int]:
        """Rows held so far for which some open gate's grace ended in (since_ms, now_ms]."""
        held = np.flatnonzero(self.code == HOLD)
        arrived_ms = self._view.post.arrived_ms[held]
        ended = np.zeros(len(held), bool)
        for gate in self.gates.values():
            if gate.required and gate.on_failure == "open":
                end_ms = arrived_ms + int(gate.grace_s * 1000)
                ended |= (since_ms < end_ms) & (end_ms <= now_ms)
        rows: list[int] = held[ended].tolist()
        return rows


class FeedScores:
    """The score of every post under one weighting and one gate policy, ``-inf`` where not shown."""

    def __init__(self, view: PostView, weights: Weights, gates: GateDecisions) -> None:
        self.weights = weights
        self.gates = gates
        self.score: npt.NDArray[np.float64] = np.full(view.capacity, -np.inf)
        self._view = view

    def update(self, rows: Rows) -> None:
        """Score these rows anew; their decisions must be up to date."""
        view = self._view
        self.gates.grow()
        if len(self.score) < view.capacity:
            self.score = grown(self.score, view.capacity, -np.inf)
        total = np.zeros(len(self.score[rows]))
        for name, weight in self.weights.objectives.items():
            if weight:
                column = view.signals[name]
                # A plain float would have numpy compute in float32.
                total += np.float64(weight * self.weights.scale[name]) * column.value[rows]
        np.maximum(total, LEAST_SUM, out=total)
        total *= self.gates.factor[rows]
        np.log2(total, out=total)
        half_life = self.weights.half_life_hours
        if half_life is not None:
            total += (view.post.created_ms[rows] - EPOCH_MS) / (half_life * HOUR_MS)
        total[self.gates.code[rows] > DEMOTE] = -np.inf
        self.score[rows] = total
