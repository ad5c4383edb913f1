"""Decides the post in one row of the view, with overrides, and says who decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.rankers.combiner.gating import (
    PASSED,
    Decision,
    GateVerdict,
    decide_one,
    outcomes_of,
    passes,
)

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView


def decide_row(view: PostView, row: int, gates: Mapping[str, GatePolicy], now_ms: int) -> Decision:
    """Decide the post in a row under a policy, as of a time in Unix milliseconds."""
    is_overridden = view.is_overridden(row)
    if not is_overridden and _all_pass(view, row, gates):
        return PASSED
    overrides = view.overrides_of(row, tuple(gates), now_ms) if is_overridden else {}
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


def _all_pass(view: PostView, row: int, gates: Mapping[str, GatePolicy]) -> bool:
    signals = view.signals
    return all(
        passes(gate, signals[name].current_value(row))
        for name, gate in gates.items()
        if gate.required
    )
