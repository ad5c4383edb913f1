"""May a post be shown?  The gates' verdicts under a policy, for many posts and for one.

`gate_effect` compares a gate's value with its policy; `passes` says where that does nothing.
`decide_many` applies it to whole columns; `outcomes_of` and `decide_one` apply it to one post, know
overrides, and say who decided.  The combiner, `feedmill explain` and previews call these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.signal_hash import short_version

SHOW, DEMOTE, HIDE, HOLD, ABSENT = range(5)
DecisionName = Literal["show", "demote", "hide", "hold", "absent"]
DECISIONS: tuple[DecisionName, ...] = ("show", "demote", "hide", "hold", "absent")
_OVERRIDE_CODE = {"hide": HIDE, "demote": DEMOTE, "allow": SHOW}

# A bool for one post, an array of bools for many.
Flags = TypeVar("Flags")


class GateVerdict(Struct, frozen=True, gc=False):
    """The signal of one gate about one version of a post."""

    value: float | None  # float32 as published; None: not judged, or the model failed
    label: str  # `spam@56e6e2`, `rule:<name>`, or `spam@none`
    by_rule: bool = False

    @classmethod
    def of(cls, gate: str, value: float | None, model: str, version: str) -> GateVerdict:
        """The verdict in a gate's signal; a rule's signal has the rule's name as its version."""
        by_rule = model == RULE_MODEL
        return cls(
            value, f"rule:{version}" if by_rule else f"{gate}@{short_version(version)}", by_rule
        )

    @classmethod
    def missing(cls, gate: str) -> GateVerdict:
        """The verdict of a gate that has not judged this version of the post."""
        return cls(None, f"{gate}@none")


class GateEffect(NamedTuple, Generic[Flags]):
    """What one gate does to a post, or to many."""

    hides: Flags
    demotes: Flags
    holds: Flags


class GateOutcome(NamedTuple):
    """What one gate, or the override in its place, does to one post.

    `decided_by` is "" for a gate that simply lets the post pass.  `reached` is the highest
    threshold that the gate's value reached, None where it reached none or nobody asked.
    """

    gate: str
    code: int
    factor: float
    decided_by: str
    reached: float | None = None
    override: ActiveOverride | None = None

    @property
    def is_star_demotion(self) -> bool:
        """Whether an override of all gates (`*`) demotes; its factor applies once, not per gate."""
        over = self.override
        return over is not None and self.code == DEMOTE and over.key.gate == "*"


class Decision(Struct, frozen=True, gc=False):
    """Whether a post is shown, by whom, and the product of its demote factors."""

    code: int
    decided_by: str
    factor: float

    @property
    def name(self) -> DecisionName:
        return DECISIONS[self.code]


PASSED = Decision(SHOW, "", 1.0)


def passes(gate: GatePolicy, value: Any) -> Any:
    """Whether a required gate's value does nothing to a post, and nobody is named for that.

    It is for most posts, where `outcomes_of` is too slow.  `value` is a float, or float32 of shape
    (n,), NaN where there is no verdict.  A rule that allows says 0: it may have to be named.
    """
    hide_at, demote_at = gate.hide_at, gate.demote_at
    return (
        (value > 0)
        & (hide_at is None or value < hide_at)
        & (demote_at is None or value < demote_at)
    )


def grace_ms(gate: GatePolicy) -> int:
    """How long an open gate holds a post without its verdict, in milliseconds."""
    return int(gate.grace_s * 1000)


def gate_effect(gate: GatePolicy, value: Any, judged: Any, arrived_ms: Any, now_ms: int) -> Any:
    """Return the `GateEffect` of a required gate, for one post or for many.

    Parameters
    ----------
    gate
        The policy; `required` is not looked at.
    value
        The probability of violation: a float, or float32 of shape (n,); NaN where the model failed.
    judged
        Whether `value` is about the present version of the post: a bool, or of shape (n,).
    arrived_ms
        The timestamp of the post's record, from which grace counts: an int, or of shape (n,).
    now_ms
        Unix milliseconds.

    Returns
    -------
    A `GateEffect` of bools, or of arrays of bools.
    """
    # With a plain float numpy would round the threshold to the column's float32.
    exact = float if isinstance(value, float) else np.float64
    # A threshold that is not there is never reached: no probability is above 1.
    hide_at = exact(2.0 if gate.hide_at is None else gate.hide_at)
    demote_at = exact(2.0 if gate.demote_at is None else gate.demote_at)
    hides = judged & (value >= hide_at)
    demotes = judged & (value >= demote_at)
    holds = (judged & (value == value)) ^ True  # noqa: PLR0124 - false where NaN
    if gate.on_failure == "open":
        holds = holds & (arrived_ms > now_ms - grace_ms(gate))
    return GateEffect(hides, demotes, holds)


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
        if gate.required:
            effect: GateEffect[npt.NDArray[np.bool_]]
            effect = gate_effect(gate, values[name], judged[name], arrived_ms, now_ms)
            factor[effect.demotes] *= gate.demote_factor
            hide |= effect.hides
            hold |= effect.holds
    # A gate whose factor is 1 demotes nothing: the decision stays `show`.
    code = np.where(factor < 1.0, np.uint8(DEMOTE), np.uint8(SHOW))
    code[hold] = HOLD
    code[hide] = HIDE
    return code, factor


def outcomes_of(
    gates: Mapping[str, GatePolicy],
    verdicts: Mapping[str, GateVerdict],
    overrides: Mapping[str, ActiveOverride],
    arrived_ms: int,
    now_ms: int,
) -> Iterator[GateOutcome]:
    """What each gate does to one post, in the order of `gates`.

    Parameters
    ----------
    gates
        Effective policy by gate.
    verdicts
        By gate; of gates that are not required none is needed.
    overrides
        By gate what is in force (`OverrideTable.in_force`).
    arrived_ms, now_ms
        The timestamp of the post's record, and the time, Unix milliseconds.
    """
    for name, gate in gates.items():
        if (over := overrides.get(name)) is not None:
            yield _overridden(name, gate, over)
        elif gate.required:
            yield _outcome(name, gate, verdicts[name], arrived_ms, now_ms)
        else:
            yield GateOutcome(name, SHOW, 1.0, "")


def _overridden(name: str, gate: GatePolicy, over: ActiveOverride) -> GateOutcome:
    code = _OVERRIDE_CODE[over.override.verdict]
    factor = gate.demote_factor if code == DEMOTE and over.key.gate != "*" else 1.0
    return GateOutcome(name, code, factor, f"override:{over.override.by}", None, over)


def _outcome(
    name: str, gate: GatePolicy, verdict: GateVerdict, arrived_ms: int, now_ms: int
) -> GateOutcome:
    value = np.nan if verdict.value is None else verdict.value
    effect: GateEffect[bool] = gate_effect(gate, value, True, arrived_ms, now_ms)
    factor = gate.demote_factor if effect.demotes else 1.0
    if effect.hides:
        return GateOutcome(name, HIDE, factor, verdict.label, gate.hide_at)
    if effect.holds:
        return GateOutcome(name, HOLD, factor, verdict.label)
    reached = gate.demote_at if effect.demotes else None
    if factor < 1.0:
        return GateOutcome(name, DEMOTE, factor, verdict.label, reached)
    allows = verdict.by_rule and verdict.value == 0
    return GateOutcome(name, SHOW, factor, verdict.label if allows else "", reached)


def decide_one(gates: Mapping[str, GatePolicy], outcomes: Iterable[GateOutcome]) -> Decision:
    """Decide one post by what each gate does (`outcomes_of`).

    Hide goes before hold, hold before demote, demote before show; of several gates with the
    same outcome the first is named.
    """
    deciders: dict[int, str] = {}
    factor, star_factor = 1.0, 1.0
    for outcome in outcomes:
        if outcome.decided_by or outcome.code != SHOW:
            deciders.setdefault(outcome.code, outcome.decided_by)
        factor *= outcome.factor
        if outcome.is_star_demotion:
            star_factor = smallest_factor(gates)
    code = next((code for code in (HIDE, HOLD, DEMOTE) if code in deciders), SHOW)
    return Decision(code, deciders.get(code, ""), factor * star_factor)


def smallest_factor(gates: Mapping[str, GatePolicy]) -> float:
    """What an override that demotes by `*` applies, once: the smallest factor of the gates."""
    required = [gate.demote_factor for gate in gates.values() if gate.required]
    return min(required or [gate.demote_factor for gate in gates.values()])
