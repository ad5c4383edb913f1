"""The score of all posts under one weighting and one gate policy, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import grown
from feedmill.rankers.combiner.gate_decisions import GateDecisions, RowSelection
from feedmill.rankers.combiner.gating import DEMOTE
from feedmill.rankers.score import EPOCH_MS, HOUR_MS, LEAST_SUM

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView


class FeedScores:
    """The score of every post for the feeds that share these weights and gates.

    Attributes
    ----------
    weights, gates
        The weighting, and the decisions under the policy.
    score
        Shape (capacity,), float64, ``-inf`` where the post is not shown.
    """

    def __init__(self, view: PostView, weights: Weights, gates: GateDecisions) -> None:
        self.weights = weights
        self.gates = gates
        self.score: npt.NDArray[np.float64] = np.full(view.capacity, -np.inf)
        self._view = view

    def update(self, rows: RowSelection) -> None:
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
