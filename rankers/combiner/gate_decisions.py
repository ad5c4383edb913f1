"""May a post be shown?  The gates' decisions, for many posts and for one, and who decided.

`gate_effect` compares a gate's value with its policy; `passes` says where that does nothing.
`decide_many` applies it to whole columns; `outcomes_of` and `decide_one` apply it to one post, know
overrides, and say who decided.  The combiner, `feedmill explain` and previews call these.
`GateDecisions` keeps the decisions about all rows of a view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.signal_columns import RowSelection, short_version
from feedmill.tables.mapped_column import MappedColumn

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView

SHOW, DEMOTE, HIDE, HOLD, ABSENT = range(5)
DecisionName = Literal["show", "demote", "hide", "hold", "absent"]
DECISIONS: tuple[DecisionName, ...] = ("show", "demote", "hide", "hold", "absent")
_OVERRIDE_CODE = {"hide": HIDE, "demote": DEMOTE, "allow": SHOW}

# A bool for one post, an array of bools for many.
Flags = TypeVar("Flags")
# With fewer rows plain Python is quicker than numpy.
_MANY_FROM = 4


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
    """Whether a required gate's value does nothing to a post, and no gate is named for that.

    It serves most posts, for which `outcomes_of` is too slow.  `value` is a float, or float32 of
    shape (n,), NaN where there is no verdict.  A rule that allows says 0, and may have to be named.
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
    """Return the `GateEffect` of a gate's policy on one post, or on many; `required` is ignored.

    `value` is the probability of violation: a float, or float32 of shape (n,), NaN where the model
    failed.  `judged` says whether it is about the present version of the post, and `arrived_ms` is
    the timestamp of the post's record, from which grace counts: both as one value, or shape (n,).
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
    """Decide posts without overrides; return their codes and products of demote factors, (n,) each.

    `values` and `judged` have for each gate what `gate_effect` takes, of shape (n,).
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
    """Yield what each gate does to one post, in the order of `gates`.

    `verdicts` may lack gates that are not required; `overrides` are those in force by gate
    (`OverrideTable.in_force`).  The times are in Unix milliseconds.
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
    """Return what an override that demotes by `*` applies, once: the smallest factor."""
    required = [gate.demote_factor for gate in gates.values() if gate.required]
    return min(required or [gate.demote_factor for gate in gates.values()])


class GateDecisions:
    """Decision and demote factor of every post under one gate policy, which feeds may share.

    Attributes
    ----------
    has_open_gate
        Whether some required gate lets posts pass without its verdict after a grace.
    code, factor
        By row a code of `DECISIONS`, `ABSENT` where there is no post, and the product of the demote
        factors.
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
        """Return held rows of a part for which some grace ended in (since_ms, now_ms]."""
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
    counts: npt.NDArray[np.int64] = np.bincount(code, minlength=len(DECISIONS))
    return counts


def decide_row(view: PostView, row: int, gates: Mapping[str, GatePolicy], now_ms: int) -> Decision:
    """Decide the post in a row under a policy, as of a time in Unix milliseconds."""
    overrides: Mapping[str, ActiveOverride] = {}
    if view.is_overridden(row):
        overrides = view.overrides_of(row, tuple(gates), now_ms)
    else:
        # Gates that the value passes do nothing.
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
            # A float32 that reaches the exact threshold is never below the rounded threshold.
            passing &= passes(gate, view.signals[name].current_values(rows))
    for place in np.flatnonzero(~passing).tolist():
        yield place, decide_row(view, int(rows[place]), gates, now_ms)


def verdict_of(view: PostView, row: int, gate: str) -> GateVerdict:
    """Return the verdict of a gate on the present version of the post in a row."""
    judged = view.signals[gate].verdict(row)
    return GateVerdict.missing(gate) if judged is None else GateVerdict.of(gate, *judged)
