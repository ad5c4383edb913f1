"""When a gate hides, demotes or holds a post."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Threshold = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=604_800)]
OnFailure = Literal["closed", "open"]


class GatePolicy(Struct, frozen=True):
    """The effective policy of one gate in one feed."""

    enabled: bool = True
    shadow: bool = False
    hide_at: float | None = 0.9
    demote_at: float | None = 0.6
    demote_factor: float = 0.5
    on_failure: OnFailure = "closed"
    grace_s: float = 60.0

    @property
    def required(self) -> bool:
        """Whether a post needs this gate's verdict before it is shown."""
        return self.enabled and not self.shadow

    def patched(self, patch: GatePolicyPatch | None) -> GatePolicy:
        """Return the policy with what the patch says replaced."""
        return self if patch is None else msgspec.structs.replace(self, **patch.given())


class GatePolicyPatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the settings `gates` and `gates/<feed>` say of one gate; unset is inherited."""

    enabled: bool | UnsetType = UNSET
    shadow: bool | UnsetType = UNSET
    hide_at: Threshold | UnsetType | None = UNSET
    demote_at: Threshold | UnsetType | None = UNSET
    demote_factor: Factor | UnsetType = UNSET
    on_failure: OnFailure | UnsetType = UNSET
    grace_s: Seconds | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that are set."""
        given = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in given if value is not UNSET}
