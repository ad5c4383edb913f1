"""What a model says of a post, and which signals this installation has."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.limits import Id, Offset, Short, TimeMs

Role = Literal["gate", "objective"]

BUILT_IN_GATES = ("spam", "nsfw", "misinformation")
BUILT_IN_OBJECTIVES = ("quality", "engagement")
# What stands for the model in a signal that a rule decided; its version is the rule's name.
RULE_MODEL = "rule"
# Fields of `signals:<post_id>` and of a setting that a signal may not be called after.
RESERVED_NAMES = frozenset(
    [
        "post_offset",
        "author_id",
        "created_ms",
        "arrived_ms",
        "override",
        "decision",
        "decided_by",
        "owner",
        "scale",
        "half_life_hours",
        "max_per_author",
        "explore",
        "alpha",
        "beta",
    ]
)
# The combiner keeps a bit for each signal of a post, and one for the post, in 63.
MAX_SIGNALS = 62
_DECLARED = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class ModelVerdict(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a filter says of a post by itself, operators' rules aside; the fields are a signal's."""

    value: float | None
    model: Short
    version: Short
    error: Short | None = None
    reason: Short | None = None


class Signal(Struct, frozen=True, gc=False, omit_defaults=True):
    """A model's verdict on one version of a post; `value` null means that it failed, see `error`.

    `value` is a float32 written in full: a gate's is the probability in [0, 1] that
    the post violates, an objective's is how good the post is.  `reason` says in a few words what
    else than the model decided.  Where a rule of an operator decided, `overruled` keeps what would
    hold without it.

    `revision` orders signals of the same `post_offset`: of two, the one with the lower revision is
    ignored, so that a paused owner's late signal loses.  A filter's is the offset of its rules in
    `config`, engagement's the last offset it counted; without one it is 0.
    """

    post_id: Id
    post_offset: Offset
    value: float | None
    model: Short
    version: Short
    at_ms: TimeMs
    error: Short | None = None
    reason: Short | None = None
    overruled: ModelVerdict | None = None
    revision: Offset = 0

    def with_rule(self, ruling: RuleVerdict, at_ms: int) -> Signal:
        """Return the signal of a rule instead; it keeps what holds without it."""
        said = self.overruled
        if self.model != RULE_MODEL:
            said = ModelVerdict(self.value, self.model, self.version, self.error, self.reason)
        return Signal(
            self.post_id,
            self.post_offset,
            ruling.value,
            RULE_MODEL,
            ruling.rule,
            at_ms,
            overruled=said,
            revision=self.revision,
        )

    def without_rule(self, at_ms: int) -> Signal:
        """Return what holds without a rule; the same where one decided and did not keep it."""
        said = self.overruled
        if said is None:
            return self
        return Signal(
            self.post_id,
            self.post_offset,
            said.value,
            said.model,
            said.version,
            at_ms,
            said.error,
            said.reason,
            revision=self.revision,
        )

    def with_revision(self, revision: int) -> Signal:
        """Return the same signal under another revision."""
        return msgspec.structs.replace(self, revision=revision)


class RuleVerdict(NamedTuple):
    """The rule of an operator that decides, and the gate's value that has its effect."""

    rule: str
    value: float


@dataclass(frozen=True)
class SignalNames:
    """The signals of an installation, gates and objectives, each in their order.

    Attributes
    ----------
    gates, objectives
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

    @property
    def all(self) -> tuple[str, ...]:
        return self.gates + self.objectives

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
    def declared(cls, declaration: str) -> SignalNames:
        """Read ``extreme:gate,novelty:objective`` beside the five built-in signals.

        Raises
        ------
        UsageError
            A name that is malformed, reserved or declared twice, a role that does not exist, or
            more than `MAX_SIGNALS` signals with the built-in ones.
        """
        gates, objectives = list(BUILT_IN_GATES), list(BUILT_IN_OBJECTIVES)
        for item in filter(None, (part.strip() for part in declaration.split(","))):
            name, _, role = item.partition(":")
            if not _DECLARED.match(name) or name in RESERVED_NAMES:
                raise UsageError(
                    f"FEEDMILL_SIGNALS: {name!r} cannot be a signal's name; use lower-case letters,"
                    " digits and `_`, and none of: " + ", ".join(sorted(RESERVED_NAMES))
                )
            if name in gates or name in objectives:
                raise UsageError(f"FEEDMILL_SIGNALS: {name!r} is declared already; remove it")
            if role not in ("gate", "objective"):
                raise UsageError(
                    f"FEEDMILL_SIGNALS: {item!r} needs a role: {name}:gate or {name}:objective"
                )
            (gates if role == "gate" else objectives).append(name)
        if len(gates) + len(objectives) > MAX_SIGNALS:
            raise UsageError(
                f"FEEDMILL_SIGNALS: {len(gates) + len(objectives)} signals with the five built-in"
                f" ones, and {MAX_SIGNALS} are the most; declare fewer"
            )
        return cls(tuple(gates), tuple(objectives))


def check_value(signal: Signal, name: str, *, in_unit_range: bool) -> None:
    """Check what depends on the signal's role; raise `BadEvent` where it does not hold."""
    _check(signal, name, "$", in_unit_range=in_unit_range)
    if signal.overruled is not None:
        _check(signal.overruled, name, "$.overruled", in_unit_range=in_unit_range)


def _check(said: Signal | ModelVerdict, name: str, path: str, *, in_unit_range: bool) -> None:
    value = said.value
    if value is None:
        if said.error is None:
            raise BadEvent(f"Expected `error` beside a null value, got nothing - at `{path}.error`")
        return
    if in_unit_range and not 0.0 <= value <= 1.0:
        raise BadEvent(f"Expected `{name}` in [0, 1], got {value!r} - at `{path}.value`")
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise BadEvent(f"Expected a finite float32, got {value!r} - at `{path}.value`")
