"""The setting `rates`: how often readers react to a post before it has counts of its own.

A further signal of engagement is a rate.  Without counts it is the base, of which no record is
written; with them it is the mean of a Beta distribution that begins at the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp2, log2
from struct import Struct as Packed
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from feedmill.events.built_in import FURTHER_SIGNALS

_STEPS: Final = 32
LEAST_STRENGTH, MOST_STRENGTH = 1.0, 1e6
_float32: Final = Packed("<f")


class ReactionRate(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a kind of reaction before a post has counts.

    Attributes
    ----------
    base
        Reactions per impression of all posts, in (0, 1).
    strength
        How many impressions the base is worth, from 1 to 1,000,000.
    """

    base: Annotated[float, Meta(gt=0, lt=1)]
    strength: Annotated[float, Meta(ge=LEAST_STRENGTH, le=MOST_STRENGTH)]


Rates = Mapping[str, ReactionRate]

# Those of the simulated audience, fitted by moments: no data set has impressions with these
# reactions.  Two reports in the first hundred impressions raise the probability of one by 0.0065.
RATES: Rates = MappingProxyType(
    {
        "reply": ReactionRate(0.015, 200.0),
        "share": ReactionRate(0.0115, 300.0),
        "dwell": ReactionRate(0.085, 40.0),
        "hide": ReactionRate(0.0063, 160.0),
        "report": ReactionRate(0.003, 160.0),
    }
)
_RatesSetting = msgspec.defstruct(
    "Rates",
    [(name, ReactionRate, RATES[name]) for name in FURTHER_SIGNALS],
    frozen=True,
    forbid_unknown_fields=True,
)


def decode_rates(value: dict[str, Any]) -> Rates:
    """Return all rates by the value of the setting; a kind that it leaves out has the shipped one.

    Raises `msgspec.ValidationError` where the value does not fit.
    """
    rates = msgspec.convert(value, _RatesSetting)
    return {name: getattr(rates, name) for name in FURTHER_SIGNALS}


def rate_steps_of(probability: float) -> int:
    """Return the logarithm of a probability, in 32nds of a doubling: `rate_value` of it is that."""
    return round(_STEPS * log2(probability))


def rate_value(steps: int) -> float:
    """Return the probability of a number of steps, a float32 in (0, 1]."""
    (value,) = _float32.unpack(_float32.pack(exp2(steps / _STEPS)))
    return float(value)


def bases_of(rates: Rates) -> Mapping[str, float]:
    """Return by signal what it is of a post without a value, each a float32."""
    return {name: rate_value(rate_steps_of(rate.base)) for name, rate in rates.items()}


BASES: Mapping[str, float] = MappingProxyType(bases_of(RATES))
