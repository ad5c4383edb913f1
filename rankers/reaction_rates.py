"""Further signals of engagement: how probable each reaction is for whoever is shown a post.

A base of the kind is moved by decayed counts, as the mean of a Beta distribution that is worth
`strength` impressions.  Values are rounded to a 32nd of a doubling, 1.1 % at most, so that few
engagements change one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp2, inf, log2
from struct import Struct
from types import MappingProxyType
from typing import Final, NamedTuple

from feedmill.events.errors import BadArtifact
from feedmill.features.counters import HALF_LIFE_MS, KIND_INDEX, Counters
from feedmill.models.artifact import Artifact

_STEPS: Final = 32
_float32: Final = Struct("<f")
_IMPRESSION: Final = KIND_INDEX["impression"]


class ReactionRate(NamedTuple):
    """What is known of a kind of reaction before a post has counts.

    Attributes
    ----------
    base
        Reactions per impression of all posts, in (0, 1).
    strength
        How many impressions the base is worth, above 0.
    """

    base: float
    strength: float


# Those of the simulated audience, fitted by moments: no data set has impressions with these
# reactions.  Two reports in the first hundred impressions raise the probability of one by 0.0065.
SHIPPED_RATES: Mapping[str, ReactionRate] = MappingProxyType(
    {
        "reply": ReactionRate(0.015, 200.0),
        "share": ReactionRate(0.0115, 300.0),
        "dwell": ReactionRate(0.085, 40.0),
        "hide": ReactionRate(0.0063, 160.0),
        "report": ReactionRate(0.003, 160.0),
    }
)


def read_rates(artifact: Artifact) -> Mapping[str, ReactionRate]:
    """Return the rates that a model learned, the shipped ones of all others.

    Raises
    ------
    BadArtifact
        They are malformed.
    """
    learned = artifact.metadata.get("rates", {})
    try:
        rates = {kind: ReactionRate(*map(float, learned[kind])) for kind in learned}
    except (TypeError, ValueError, OverflowError) as error:
        raise BadArtifact(f"{artifact.label}: rates of reactions: {error}; retrain") from error
    for kind, (base, strength) in rates.items():
        if kind not in SHIPPED_RATES or not (0 < base < 1 and 0 < strength < inf):
            raise BadArtifact(
                f"{artifact.label}: expected of each of {', '.join(SHIPPED_RATES)} a base in (0, 1)"
                f" and a strength above 0, found {base:g} and {strength:g} of {kind!r}; retrain"
            )
    return {**SHIPPED_RATES, **rates}


def rate_steps(kind: str, rate: ReactionRate, counters: Counters) -> int:
    """Return the logarithm of a probability, in 32nds of a doubling: `rate_value` of it is that.

    Where some impressions were not logged, each reaction counts as one.
    """
    latest_ms = max(counters.at_ms)
    impressions = _decayed(counters, _IMPRESSION, latest_ms)
    reactions = _decayed(counters, KIND_INDEX[kind], latest_ms)
    shown = max(impressions, reactions)
    value = (reactions + rate.base * rate.strength) / (shown + rate.strength)
    return round(_STEPS * log2(value))


def rate_value(steps: int) -> float:
    """Return the probability of a number of steps, a float32 in (0, 1]."""
    (value,) = _float32.unpack(_float32.pack(exp2(steps / _STEPS)))
    return float(value)


def _decayed(counters: Counters, index: int, latest_ms: int) -> float:
    gap = latest_ms - counters.at_ms[index]
    return counters.sums[index] * exp2(-gap / HALF_LIFE_MS) if gap else counters.sums[index]
