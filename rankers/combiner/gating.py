"""May a post be shown?  The gates' verdicts under a policy, for many posts and for one.

`decide_many` and `decide_one` are the same rule; `decide_one` also knows
overrides and says who decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.overrides import ActiveOverride

SHOW, DEMOTE, HIDE, HOLD, ABSENT = range(5)
DecisionName = Literal["show", "demote", "hide", "hold", "absent"]
DECISIONS: tuple[DecisionName, ...] = ("show", "demote", "hide", "hold", "absent")


@dataclass(frozen=True)
class GateVerdict:
    """What one gate says of one version of a post."""

    value: float | None  # float32 as published; None: not judged, or the model failed
    label: str  # `spam@7f3a`, `rule:<name>`, or `spam@none`
    by_rule: bool = False

    @classmethod
    def of(cls, gate: str, value: float | None, model: str, version: str) -> GateVerdict:
        """What the signal of a gate says; a rule's signal has the rule's name as its version."""
        by_rule = model == RULE_MODEL
        return cls(value, f"rule:{version}" if by_rule else f"{gate}@{version}", by_rule)


@dataclass(frozen=True)
class Decision:
    """Whether a post is shown, by whom, and the product of its demote factors."""

    code: int
    decided_by: str
    factor: float

    @property
    def name(self) -> DecisionName:
        return DECISIONS[self.code]


def decide_many(
    gates: Mapping[str, GatePolicy],
    values: Mapping[str, npt.NDArray[np.float32]],
    judged: Mapping[str, npt.NDArray[np.bool_]],
    arrived_ms: npt.NDArray[np.int64],
    now_ms: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Decide posts without overrides.

    Parameters
    ----------
    gates
        Effective policy by gate.
    values
        By gate the probability of violation, shape (n,), NaN where the model failed.
    judged
        By gate whether that value is about the present version of the post, shape (n,).
    arrived_ms
        The timestamp of the post's record, shape (n,): a gate's grace counts from it.
    now_ms
        Unix milliseconds.

    Returns
    -------
    Decision codes, shape (n,), and products of demote factors, shape (n,).
    """
    n = len(arrived_ms)
    factor = np.ones(n)
    hide = np.zeros(n, bool)
    hold = np.zeros(n, bool)
    for name, gate in gates.items():
        if not gate.required:
            continue
        value = values[name]
        known = judged[name] & (value == value)  # noqa: PLR0124 - false where NaN
        if gate.demote_at is not None:
            demoted = judged[name] & (value >= np.float64(gate.demote_at))
            factor[demoted] *= gate.demote_factor
        if gate.hide_at is not None:
            hide |= judged[name] & (value >= np.float64(gate.hide_at))
        if gate.on_failure == "closed":
            hold |= ~known
        else:
            hold |= ~known & (arrived_ms + int(gate.grace_s * 1000) > now_ms)
    code = np.where(factor < 1.0, np.uint8(DEMOTE), np.uint8(SHOW))
    # A factor of 1 demotes nothing by number, yet the gate did decide: it stays `show`.
    code[hold] = HOLD
    code[hide] = HIDE
    return code, factor


def decide_one(
    gates: Mapping[str, GatePolicy],
    verdicts: Mapping[str, GateVerdict],
    overrides: Mapping[str, ActiveOverride],
    arrived_ms: int,
    now_ms: int,
) -> Decision:
    """Decide one post; `overrides` is by gate what is in force (`OverrideTable.in_force`)."""
    tally = _Tally(gates)
    for name, gate in gates.items():
        if (over := overrides.get(name)) is not None:
            tally.take_override(over, gate)
        elif gate.required:
            tally.take_verdict(verdicts[name], gate, now_ms - arrived_ms)
    return tally.decision()


class _Tally:
    """Who hides, holds, demotes or allows; the first of each is named."""

    def __init__(self, gates: Mapping[str, GatePolicy]) -> None:
        self._gates = gates
        self._by: dict[int, str] = {}
        self._factor = 1.0
        self._by_star = False

    def take_override(self, over: ActiveOverride, gate: GatePolicy) -> None:
        by, verdict = f"override:{over.override.by}", over.override.verdict
        self._by.setdefault({"hide": HIDE, "demote": DEMOTE, "allow": SHOW}[verdict], by)
        if verdict == "demote" and over.key.gate == "*":
            self._by_star = True
        elif verdict == "demote":
            self._factor *= gate.demote_factor

    def take_verdict(self, verdict: GateVerdict, gate: GatePolicy, waited_ms: int) -> None:
        if verdict.value is None:
            if gate.on_failure == "closed" or waited_ms < int(gate.grace_s * 1000):
                self._by.setdefault(HOLD, verdict.label)
            return
        if gate.demote_at is not None and verdict.value >= gate.demote_at:
            self._factor *= gate.demote_factor
            if gate.demote_factor < 1.0:
                self._by.setdefault(DEMOTE, verdict.label)
        if gate.hide_at is not None and verdict.value >= gate.hide_at:
            self._by.setdefault(HIDE, verdict.label)
        if verdict.by_rule and verdict.value == 0:
            self._by.setdefault(SHOW, verdict.label)

    def decision(self) -> Decision:
        factor = self._factor * (smallest_factor(self._gates) if self._by_star else 1.0)
        for code in (HIDE, HOLD, DEMOTE):
            if code in self._by:
                return Decision(code, self._by[code], factor)
        return Decision(SHOW, self._by.get(SHOW, ""), factor)


def smallest_factor(gates: Mapping[str, GatePolicy]) -> float:
    """What an override that demotes by `*` applies, once: the smallest factor of the gates."""
    required = [gate.demote_factor for gate in gates.values() if gate.required]
    return min(required or [gate.demote_factor for gate in gates.values()])
