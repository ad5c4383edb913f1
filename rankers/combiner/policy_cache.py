"""Decisions and scores in use, each computed once however many feeds share it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.view import PostView

_encode = msgspec.json.Encoder(order="sorted").encode


class PolicyCache:
    """`GateDecisions` by gate policy, and `FeedScores` by weights and policy, over one view."""

    def __init__(self, view: PostView) -> None:
        self._view = view
        self._decisions: dict[bytes, GateDecisions] = {}
        self._scores: dict[bytes, FeedScores] = {}

    def scores(self, settings: Settings, feed: str, now_ms: int) -> FeedScores:
        """The scores for a feed, up to date."""
        weights, gates = settings.weights_of(feed), settings.gates_of(feed)
        key = _encode([weights.as_dict(), dict(gates)])
        scores = self._scores.get(key)
        if scores is None:
            scores = FeedScores(self._view, weights, self.decisions(gates, now_ms))
            scores.update(self._all_rows())
            self._scores[key] = scores
        return scores

    def decisions(self, gates: Mapping[str, GatePolicy], now_ms: int) -> GateDecisions:
        """The decisions under a policy, up to date."""
        key = _encode(dict[str, Any](gates))
        decisions = self._decisions.get(key)
        if decisions is None:
            decisions = self._decisions[key] = GateDecisions(self._view, gates)
            decisions.update(self._all_rows(), now_ms)
        return decisions

    def all_decisions(self) -> Iterator[GateDecisions]:
        """The decisions under every policy in use."""
        yield from self._decisions.values()

    def update(self, rows: npt.NDArray[np.int32], now_ms: int) -> None:
        """Decide and score these rows anew under every policy in use."""
        for decisions in self._decisions.values():
            decisions.update(rows, now_ms)
        for scores in self._scores.values():
            scores.update(rows)

    def keep(self, in_use: Iterable[FeedScores], default: GateDecisions) -> None:
        """Forget all scores but these, and all decisions that neither they nor the default use.

        The default decisions stay: they stand in `signals:<post_id>`.
        """
        kept = {id(scores) for scores in in_use}
        self._scores = {key: value for key, value in self._scores.items() if id(value) in kept}
        kept = {id(default), *(id(scores.gates) for scores in self._scores.values())}
        decisions = self._decisions
        self._decisions = {key: value for key, value in decisions.items() if id(value) in kept}

    def _all_rows(self) -> slice:
        return slice(0, self._view.capacity)
