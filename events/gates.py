"""The policy of a gate: when it hides, demotes or holds a post."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Threshold = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=604_800)]
OnFailure = Literal["closed", "open"]

# Of a gate that no setting is about; the values of every filter are calibrated to them.
HIDE_AT, DEMOTE_AT = 0.9, 0.6


class GatePolicy(Struct, frozen=True):
    """The policy of one gate in force in one feed.

    Attributes
    ----------
    enabled
        Whether the gate counts at all.
    shadow
        Whether its decisions are only reported, not followed.
    hide_at, demote_at
        From which value on it hides, or demotes, a post; None for never.
    demote_factor
        What the score of a demoted post is multiplied by.
    on_failure
        What happens to a post without a value of this gate: `closed` holds it, `open` shows it.
    grace_s
        How many seconds a post waits for a missing value before `on_failure` applies.
    """

    enabled: bool = True
    shadow: bool = False
    hide_at: float | None = HIDE_AT
    demote_at: float | None = DEMOTE_AT
    demote_factor: float = 0.5
    on_failure: OnFailure = "closed"
    grace_s: float = 60.0

    @property
    def required(self) -> bool:
        """Whether a post needs the value of this gate before it is shown."""
        return self.enabled and not self.shadow

    def warning(self) -> str:
        """Say what of this policy is valid and hardly meant; "" if nothing is."""
        hide_at, demote_at = self.hide_at, self.demote_at
        if not self.enabled or hide_at is None or demote_at is None or hide_at >= demote_at:
            return ""
        return (
            f"hide_at {hide_at:g} is below demote_at {demote_at:g}: every post from {hide_at:g} on"
            " is hidden and none is demoted; lower demote_at, or set it to null"
        )

    def patched(self, patch: GatePolicyPatch | None) -> GatePolicy:
        """Return the policy with the fields of the patch replaced."""
        return self if patch is None else msgspec.structs.replace(self, **patch.fields_set())

    def at_least(self, other: GatePolicy) -> GatePolicy:
        """Return this policy, field by field as strict as the other one where that counts."""
        if not other.required:
            return self
        if not self.required:
            return other
        is_closed = "closed" in (self.on_failure, other.on_failure)
        return GatePolicy(
            hide_at=_lower(self.hide_at, other.hide_at),
            demote_at=_lower(self.demote_at, other.demote_at),
            demote_factor=min(self.demote_factor, other.demote_factor),
            on_failure="closed" if is_closed else "open",
            grace_s=max(self.grace_s, other.grace_s),
        )


def _lower(first: float | None, other: float | None) -> float | None:
    """The threshold that is reached first; None is never reached."""
    return min((at for at in (first, other) if at is not None), default=None)


class GatePolicyPatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The part of one gate in the settings `gates` and `gates/<feed>`; unset fields inherit."""

    enabled: bool | UnsetType = UNSET
    shadow: bool | UnsetType = UNSET
    hide_at: Threshold | UnsetType | None = UNSET
    demote_at: Threshold | UnsetType | None = UNSET
    demote_factor: Factor | UnsetType = UNSET
    on_failure: OnFailure | UnsetType = UNSET
    grace_s: Seconds | UnsetType = UNSET

    def fields_set(self) -> dict[str, Any]:
        """Return the fields that are set, by name."""
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in fields if value is not UNSET}


@cache
def gates_struct(gates: tuple[str, ...]) -> type[Struct]:
    """Return the record that the value of a setting `gates` must fit, where these are declared."""
    fields = [(name, GatePolicyPatch | UnsetType, UNSET) for name in gates]
    return msgspec.defstruct("Gates", fields, frozen=True)
