"""Signals, what a model or a rule says about a post, and which signals an installation has."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from feedmill.events.built_in import (
    BUILT_IN_COSTS,
    BUILT_IN_GATES,
    BUILT_IN_OBJECTIVES,
    FURTHER_SIGNALS,
)
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.limits import EventId, Offset, Revision, ShortName, ShortText, TimeMs

Role = Literal["gate", "objective", "cost"]

# The `model` of a signal that a rule decided; its `version` is the name of the rule.
RULE_MODEL = "rule"
# Names of other fields of `signals:<post_id>`, of settings, and of a stage without a signal, which
# no signal may have.
RESERVED_NAMES = frozenset(
    [
        "post",
        "author_id",
        "override",
        "decision",
        "decided_by",
        "owner",
        "scale",
        "costs",
        "half_life_hours",
        "max_per_author",
        "explore",
        "alpha",
        "beta",
        "reader",
    ]
)
# The combiner keeps a bit for each signal of a post, and one for the post, in 63.
MAX_SIGNALS = 62
MAX_FLOAT32 = float(np.finfo(np.float32).max)
_DECLARED_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class ModelVerdict(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a filter says about a post without the rules of operators; fields as in `Signal`."""

    value: float | None
    model: ShortName
    version: ShortName
    error: ShortText | None = None
    reason: ShortText | None = None


class Signal(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a model or a rule says about one version of a post.

    The fields are those of docs/contracts.md, "Events".  Without a `value` the model failed.
    """

    post_id: EventId
    post_offset: Offset
    value: float | None
    model: ShortName
    version: ShortName
    at_ms: TimeMs
    error: ShortText | None = None
    reason: ShortText | None = None
    overruled: ModelVerdict | None = None
    revision: Revision = 0

    def with_rule(self, verdict: RuleVerdict, at_ms: int) -> Signal:
        """Return the signal of a rule for the same version; it keeps what holds without it."""
        overruled = self.overruled
        if self.model != RULE_MODEL:
            overruled = ModelVerdict(self.value, self.model, self.version, self.error, self.reason)
        return Signal(
            self.post_id,
            self.post_offset,
            verdict.value,
            RULE_MODEL,
            verdict.rule,
            at_ms,
            overruled=overruled,
            revision=self.revision,
        )

    def without_rule(self, at_ms: int) -> Signal:
        """Return the signal that holds without a rule; itself if it overruled nothing."""
        verdict = self.overruled
        if verdict is None:
            return self
        return Signal(
            self.post_id,
            self.post_offset,
            verdict.value,
            verdict.model,
            verdict.version,
            at_ms,
            verdict.error,
            verdict.reason,
            revision=self.revision,
        )

    def with_revision(self, revision: int) -> Signal:
        """Return the same signal under another revision."""
        return msgspec.structs.replace(self, revision=revision)


class RuleVerdict(NamedTuple):
    """The name of the rule that decides, and the value of the gate that has its effect."""

    rule: str
    value: float


@dataclass(frozen=True)
class SignalNames:
    """The signals of an installation: its gates, objectives and costs, each in their order.

    Attributes
    ----------
    gates, objectives, costs
        The built-in signals, then the declared ones.
    filters
        The gates that a filter of this installation writes; only these take rules.
    gate_defaults
        By gate its policy where no setting says otherwise; `GatePolicy()` for every other gate.
    """

    gates: tuple[str, ...] = BUILT_IN_GATES
    objectives: tuple[str, ...] = BUILT_IN_OBJECTIVES
    filters: tuple[str, ...] = BUILT_IN_GATES
    gate_defaults: tuple[tuple[str, GatePolicy], ...] = ()
    costs: tuple[str, ...] = BUILT_IN_COSTS

    @property
    def all(self) -> tuple[str, ...]:
        """Gates, then objectives, then costs."""
        return self.gates + self.objectives + self.costs

    @property
    def own(self) -> tuple[str, ...]:
        """The signals that no worker writes: programs of the installation's own do."""
        of_workers = {*self.filters, *BUILT_IN_OBJECTIVES, *BUILT_IN_COSTS}
        return tuple(name for name in self.all if name not in of_workers)

    def default_gate(self, name: str) -> GatePolicy:
        """The policy of a gate where no setting says otherwise."""
        return dict(self.gate_defaults).get(name) or GatePolicy()

    def with_filters(self, policies: Mapping[str, GatePolicy]) -> SignalNames:
        """These signals, told which filters are registered: by gate its default policy.

        A registered filter whose gate is not declared is left out.
        """
        filters = tuple(gate for gate in self.gates if gate in policies)
        defaults = tuple((gate, policies[gate]) for gate in filters)
        return replace(self, filters=filters, gate_defaults=defaults)

    @classmethod
    def parse(cls, declaration: str) -> SignalNames:
        """Return the built-in signals and those of ``extreme:gate,novelty:objective``.

        Raises
        ------
        UsageError
            A name is malformed, reserved or declared twice, a role does not exist, or there are
            more than `MAX_SIGNALS` signals with the built-in ones.
        """
        of_role: dict[str, list[str]] = {
            "gate": [*BUILT_IN_GATES],
            "objective": [*BUILT_IN_OBJECTIVES],
            "cost": [*BUILT_IN_COSTS],
        }
        declared = {name for names in of_role.values() for name in names}
        for item in filter(None, (part.strip() for part in declaration.split(","))):
            name, _, role = item.partition(":")
            if not _DECLARED_NAME.match(name) or name in RESERVED_NAMES:
                raise UsageError(
                    f"FEEDMILL_SIGNALS: {name!r} cannot be a signal's name; use up to 64 lower-case"
                    " letters, digits and `_`, a letter first, and none of: "
                    + ", ".join(sorted(RESERVED_NAMES))
                )
            if name in declared:
                raise UsageError(f"FEEDMILL_SIGNALS: {name!r} is declared already; remove it")
            if role not in of_role:
                raise UsageError(
                    f"FEEDMILL_SIGNALS: {item!r} needs a role: {name}:gate, {name}:objective or"
                    f" {name}:cost"
                )
            of_role[role].append(name)
            declared.add(name)
        if len(declared) > MAX_SIGNALS:
            raise UsageError(
                f"FEEDMILL_SIGNALS: expected at most {MAX_SIGNALS} signals with the ten built-in"
                f" ones, got {len(declared)}; declare fewer"
            )
        gates, objectives, costs = map(tuple, of_role.values())
        return cls(gates, objectives, costs=costs)


def stage_of(name: str) -> str:
    """Return the stage that writes a signal: `engagement` writes several, any other its own."""
    return "engagement" if name in FURTHER_SIGNALS else name


def has_unit_range(name: str, names: SignalNames) -> bool:
    """Return whether the values of a signal are in [0, 1]."""
    return name in names.gates or name in names.costs or name in BUILT_IN_OBJECTIVES


def check_signal(signal: Signal, name: str, *, in_unit_range: bool) -> None:
    """Check what the fields' types cannot say: finite values, errors beside missing ones.

    Raises
    ------
    BadEvent
        With the path of the field.
    """
    _check_verdict(signal, name, "$", in_unit_range=in_unit_range)
    if signal.overruled is not None:
        _check_verdict(signal.overruled, name, "$.overruled", in_unit_range=in_unit_range)


def _check_verdict(
    verdict: Signal | ModelVerdict, name: str, path: str, *, in_unit_range: bool
) -> None:
    value = verdict.value
    if value is None:
        if verdict.error is None:
            raise BadEvent(f"Expected `error` beside a null value, got nothing - at `{path}.error`")
        return
    if in_unit_range and not 0.0 <= value <= 1.0:
        raise BadEvent(f"Expected `{name}` in [0, 1], got {value!r} - at `{path}.value`")
    if not math.isfinite(value) or abs(value) > MAX_FLOAT32:
        raise BadEvent(f"Expected a finite float32, got {value!r} - at `{path}.value`")
