"""How much each objective counts in a feed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from feedmill.events.errors import BadSetting
from feedmill.events.rates import BASES
from feedmill.events.signal import SignalNames

Weight = Annotated[float, Meta(ge=0, le=1e6)]
Scale = Annotated[float, Meta(gt=0, le=1e6)]
Cost = Annotated[float, Meta(ge=0, le=10_000)]
HalfLife = Annotated[float, Meta(ge=0.1, le=87_600)]
PerAuthor = Annotated[int, Meta(ge=1, le=1_000_000)]
Explore = Annotated[float, Meta(ge=0, le=1e6)]

DEFAULT_SCALE = {"quality": 1.0, "engagement": 36.0}
# Chosen by simulated readers: docs/decisions/costs.md.
DEFAULT_COSTS = {"report": 18.0, "hide": 4.0}
# The usual letters for the two weights; the command line takes them for the names.
OBJECTIVE_ALIASES = {"alpha": "quality", "beta": "engagement"}


@dataclass(frozen=True)
class Weights:
    """The weights in force in a feed.

    Attributes
    ----------
    objectives, scale
        By objective its weight, and what its signal is multiplied by: `quality` and `engagement`,
        and every other one whose weight is above 0.
    costs
        By cost, those above 0: how many doublings of the score a probability of 1 takes.
    half_life_hours
        After how many hours a post counts half as much; None for no decay.
    max_per_author
        How many posts of one author a feed holds; None for any number.
    explore
        Always 0, until exploration is built.
    bases
        By signal what counts of a post without a value, 0 of those that are not named.
    """

    objectives: Mapping[str, float]
    scale: Mapping[str, float]
    half_life_hours: float | None = 24.0
    max_per_author: int | None = 3
    explore: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)
    bases: Mapping[str, float] = field(default_factory=lambda: BASES)

    @cached_property
    def added(self) -> tuple[tuple[str, float], ...]:
        """The objectives that count, each with weight times scale."""
        weights = self.objectives.items()
        return tuple((name, weight * self.scale[name]) for name, weight in weights if weight)

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """The signals on which a score depends: objectives and costs above 0."""
        return (*(name for name, _ in self.added), *self.costs)

    def as_dict(self) -> dict[str, Any]:
        """Return the value of the setting that gives these weights."""
        return {
            **self.objectives,
            "scale": dict(self.scale),
            **({"costs": dict(self.costs)} if self.costs else {}),
            "half_life_hours": self.half_life_hours,
            "max_per_author": self.max_per_author,
            "explore": self.explore,
        }

    def shown(self) -> dict[str, Any]:
        """Return what scores follow from, as `:info` and pages show it: `bases` of what counts."""
        bases = {name: self.bases[name] for name in self.signals if name in self.bases}
        return {**self.as_dict(), **({"bases": bases} if bases else {})}


class WeightsDecoder:
    """Decodes the setting `weights` for the signals of one installation.

    Attributes
    ----------
    struct
        The record that the value of the setting must fit.
    default
        The built-in weights.
    """

    def __init__(self, names: SignalNames) -> None:
        self._names = names.objectives
        self._required = ("quality", "engagement")
        self._costs = names.costs
        scale = msgspec.defstruct(
            "Scale",
            [(name, Scale, DEFAULT_SCALE.get(name, 1.0)) for name in self._names],
            frozen=True,
            forbid_unknown_fields=True,
        )
        costs = msgspec.defstruct(
            "Costs",
            [(name, Cost, DEFAULT_COSTS.get(name, 0.0)) for name in self._costs],
            frozen=True,
            forbid_unknown_fields=True,
        )
        required = [(name, Weight) for name in self._required]
        others = [(name, Weight, 0.0) for name in self._names if name not in self._required]
        self.struct: type[Struct] = msgspec.defstruct(
            "Weights",
            [
                *required,
                *others,
                ("scale", scale, scale()),
                ("costs", costs, costs()),
                ("half_life_hours", HalfLife | None, 24.0),
                ("max_per_author", PerAuthor | None, 3),
                ("explore", Explore, 0.0),
            ],
            frozen=True,
            forbid_unknown_fields=True,
        )
        self.default = self.decode({"quality": 0.5, "engagement": 0.5})

    def decode(self, value: dict[str, Any]) -> Weights:
        """Return the weights of a setting's value.

        Raises
        ------
        msgspec.ValidationError
            The value does not fit `struct`.
        BadSetting
            No weight is above 0, a cost stands among them, or exploration is asked for.
        """
        for name in self._costs:
            if name in value:
                raise BadSetting(f"`{name}` is a cost: set `costs.{name}` - at `$.value.{name}`")
        decoded: Any = msgspec.convert(value, self.struct)
        given = {name: float(getattr(decoded, name)) for name in self._names}
        objectives = {n: weight for n, weight in given.items() if weight or n in self._required}
        if not any(objectives.values()):
            raise BadSetting("Expected at least one weight above 0, got none - at `$.value`")
        if decoded.explore:
            raise BadSetting(
                f"Expected 0, because exploration is not supported yet, got {decoded.explore!r}"
                " - at `$.value.explore`"
            )
        return Weights(
            objectives=objectives,
            scale={name: float(getattr(decoded.scale, name)) for name in objectives},
            half_life_hours=None
            if decoded.half_life_hours is None
            else float(decoded.half_life_hours),
            max_per_author=decoded.max_per_author,
            costs={
                name: cost for name in self._costs if (cost := float(getattr(decoded.costs, name)))
            },
        )

    def patched(self, weights: Weights, patch: Mapping[str, Any]) -> Weights:
        """Return weights with fields replaced, those of `scale` and `costs` one by one.

        Raises what `decode` raises.
        """
        value = weights.as_dict()
        # `as_dict` leaves costs of 0 out, and one that is left out has its default.
        before = {
            "scale": value["scale"],
            "costs": {name: weights.costs.get(name, 0.0) for name in self._costs},
        }
        inner = {name: {**fields, **patch.get(name, {})} for name, fields in before.items()}
        return replace(self.decode({**value, **patch, **inner}), bases=weights.bases)


# They depend on the declared signals alone, and making one takes longer than folding a record.
@cache
def weights_decoder(names: SignalNames) -> WeightsDecoder:
    """Return what decodes the setting `weights` for these signals."""
    return WeightsDecoder(names)
