"""The lenses in use, each made once however many feeds look through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.feed_scores import FeedScores, GateDecisions
from feedmill.rankers.combiner.view import PostView

_encode = msgspec.json.Encoder(order="sorted").encode


class PolicyCache:
    """Lenses over one view, by their gates and weights."""

    def __init__(self, view: PostView) -> None:
        self._view = view
        self._gates: dict[bytes, GateDecisions] = {}
        self._lenses: dict[bytes, FeedScores] = {}

    def find(self, settings: Settings, feed: str, now_ms: int) -> FeedScores:
        """The lens of a feed, up to date."""
        weights, gates = settings.weights_of(feed), settings.gates_of(feed)
        key = _encode([weights.as_dict(), dict(gates)])
        lens = self._lenses.get(key)
        if lens is None:
            lens = self._lenses[key] = FeedScores(
                self._view, weights, self.gate_lens(gates, now_ms)
            )
            lens.update(self._all())
        return lens

    def gate_lens(self, gates: Mapping[str, GatePolicy], now_ms: int) -> GateDecisions:
        """The decisions under a policy, up to date."""
        key = _encode(dict[str, Any](gates))
        lens = self._gates.get(key)
        if lens is None:
            lens = self._gates[key] = GateDecisions(self._view, gates)
            lens.update(self._all(), now_ms)
        return lens

    def gates(self, settings: Settings, now_ms: int) -> Iterator[GateDecisions]:
        """Every policy in use, the default one among them."""
        self.gate_lens(settings.gates_of(""), now_ms)
        yield from self._gates.values()

    def update(self, rows: npt.NDArray[np.int32], now_ms: int) -> None:
        """Bring all lenses up to date with these rows."""
        for gates in self._gates.values():
            gates.update(rows, now_ms)
        for lens in self._lenses.values():
            lens.update(rows)

    def keep(self, used: set[int], default: GateDecisions) -> None:
        """Forget the lenses whose `id` is not among these, and policies that none looks through.

        The default policy stays: its decisions are those that stand in `signals:<post_id>`.
        """
        self._lenses = {key: lens for key, lens in self._lenses.items() if id(lens) in used}
        gates = {id(default), *(id(lens.gates) for lens in self._lenses.values())}
        self._gates = {key: lens for key, lens in self._gates.items() if id(lens) in gates}

    def _all(self) -> slice:
        # A slice spares the copy that picking rows makes of every column.
        return slice(0, self._view.capacity)
