"""The score of all posts under one weighting and one gate policy, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feedmill.events.weights import Weights
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.gating import DEMOTE
from feedmill.rankers.combiner.signal_columns import RowSelection
from feedmill.rankers.score import EPOCH_MS, HOUR_MS, LEAST_SUM
from feedmill.tables.mapped_column import MappedColumn

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView

# Fewer are scored one by one: numpy's calls for all of them would take longer.
_MANY_FROM = 8


class FeedScores:
    """The score of every post for the feeds that share these weights and gates.

    Attributes
    ----------
    weights, gates
        The weighting, and the decisions under the policy.
    """

    def __init__(self, view: PostView, weights: Weights, gates: GateDecisions) -> None:
        self.weights = weights
        self.gates = gates
        self._score = MappedColumn(np.float64, -np.inf)
        self._score.grow(view.capacity)
        self._view = view

    @property
    def score(self) -> npt.NDArray[np.float64]:
        """Shape (n,), ``-inf`` where the post is not shown; n grows at an update."""
        return self._score.values

    def update(self, rows: RowSelection) -> None:
        """Score these rows anew; their decisions must be up to date."""
        view = self._view
        self.gates.grow()
        self._score.grow(view.capacity)
        score = self._score.values
        if not isinstance(rows, slice) and len(rows) < _MANY_FROM:
            for row in rows.tolist():
                score[row] = self._score_of(row)
            return
        total = np.zeros(len(score[rows]))
        for name, weight in self.weights.objectives.items():
            if weight:
                column = view.signals[name]
                # A plain float would have numpy compute in float32.
                total += np.float64(weight * self.weights.scale[name]) * column.value[rows]
        np.maximum(total, LEAST_SUM, out=total)
        total *= self.gates.factors(rows)
        np.log2(total, out=total)
        half_life = self.weights.half_life_hours
        if half_life is not None:
            total += (view.post.created_ms[rows] - EPOCH_MS) / (half_life * HOUR_MS)
        total[self.gates.code[rows] > DEMOTE] = -np.inf
        score[rows] = total

    def _score_of(self, row: int) -> float:
        """What `update` computes for one row, to the last bit: in plain floats but for `log2`."""
        view, weights = self._view, self.weights
        if self.gates.code.item(row) > DEMOTE:
            return -np.inf
        total = 0.0
        for name, weight in weights.objectives.items():
            if weight:
                total += weight * weights.scale[name] * view.signals[name].value.item(row)
        score = float(np.log2(max(total, LEAST_SUM) * self.gates.factor_of(row)))
        if weights.half_life_hours is not None:
            since_ms = view.post.created_ms.item(row) - EPOCH_MS
            score += since_ms / (weights.half_life_hours * HOUR_MS)
        return score
