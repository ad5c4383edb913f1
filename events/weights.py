"""How much each objective counts in a feed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from feedmill.events.errors import BadSetting
from feedmill.events.signal import SignalNames

Weight = Annotated[float, Meta(ge=0, le=1e6)]
Scale = Annotated[float, Meta(gt=0, le=1e6)]
HalfLife = Annotated[float, Meta(ge=0.1, le=87_600)]
PerAuthor = Annotated[int, Meta(ge=1, le=1_000_000)]
Explore = Annotated[float, Meta(ge=0, le=1e6)]

DEFAULT_SCALE = {"quality": 1.0, "engagement": 10.0}
# The book's words for the two objectives; the command line takes either.
OBJECTIVE_ALIASES = {"alpha": "quality", "beta": "engagement"}


@dataclass(frozen=True)
class Weights:
    """Effective weights of a feed, every declared objective in `objectives` and `scale`."""

    objectives: Mapping[str, float]
    scale: Mapping[str, float]
    half_life_hours: float | None = 24.0
    max_per_author: int | None = 3
    explore: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """In the shape of the setting, as `:info` shows it."""
        return {
            **self.objectives,
            "scale": dict(self.scale),
            "half_life_hours": self.half_life_hours,
            "max_per_author": self.max_per_author,
            "explore": self.explore,
        }


class WeightsDecoder:
    """Reads the setting `weights` for the signals of this installation."""

    def __init__(self, names: SignalNames) -> None:
        self._names = names.objectives
        scale = msgspec.defstruct(
            "Scale",
            [(name, Scale, DEFAULT_SCALE.get(name, 1.0)) for name in self._names],
            frozen=True,
            forbid_unknown_fields=True,
        )
        required = [(name, Weight) for name in ("quality", "engagement")]
        declared = [(name, Weight, 0.0) for name in self._names[2:]]
        self.shape: type[Struct] = msgspec.defstruct(
            "Weights",
            [
                *required,
                *declared,
                ("scale", scale, scale()),
                ("half_life_hours", HalfLife | None, 24.0),
                ("max_per_author", PerAuthor | None, 3),
                ("explore", Explore, 0.0),
            ],
            frozen=True,
            forbid_unknown_fields=True,
        )
        self.default = self.read({"quality": 0.5, "engagement": 0.5})

    def read(self, value: dict[str, Any]) -> Weights:
        """Weights from the setting's value; raises `BadSetting` or msgspec's `ValidationError`."""
        wire: Any = msgspec.convert(value, self.shape)
        objectives = {name: float(getattr(wire, name)) for name in self._names}
        if not any(objectives.values()):
            raise BadSetting("Expected at least one weight above 0, got none")
        if wire.explore:
            raise BadSetting("Expected `explore` 0, it is not built yet - at `$.value.explore`")
        return Weights(
            objectives=objectives,
            scale={name: float(getattr(wire.scale, name)) for name in self._names},
            half_life_hours=None if wire.half_life_hours is None else float(wire.half_life_hours),
            max_per_author=wire.max_per_author,
        )
