"""Further signals of engagement: how probable each reaction is for whoever is shown a post.

A base of the kind is moved by decayed counts, as the mean of a Beta distribution that is worth
`strength` impressions.  Values are rounded to a 32nd of a doubling, 1.1 % at most, so that few
engagements change one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp2, log2
from struct import Struct
from types import MappingProxyType
from typing import Final, NamedTuple

from feedmill.features.counters import HALF_LIFE_MS, KIND_INDEX, Counters

_STEPS: Final = 32
_float32: Final = Struct("<f")
_IMPRESSION: Final = KIND_INDEX["impression"]
_REGULAR: Final = KIND_INDEX["regular impression"]


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
RATES: Mapping[str, ReactionRate] = MappingProxyType(
    {
        "reply": ReactionRate(0.015, 200.0),
        "share": ReactionRate(0.0115, 300.0),
        "dwell": ReactionRate(0.085, 40.0),
        "hide": ReactionRate(0.0063, 160.0),
        "report": ReactionRate(0.003, 160.0),
    }
)


def rate_steps(kind: str, counters: Counters) -> int:
    """Return the logarithm of a probability, in 32nds of a doubling: `rate_value` of it is that.

    Where some impressions were not logged, each reaction counts as one.  Hides and reports are
    those of accounts that read the community before, and what is believed of strangers.  The
    impressions of strangers who are not believed count no more than their complaints: else a
    post's author could outvote its readers.
    """
    latest_ms = max(counters.at_ms)
    impressions = _decayed(counters, _IMPRESSION, latest_ms)
    reactions = _decayed(counters, KIND_INDEX[kind], latest_ms)
    shown = impressions
    strangers = KIND_INDEX.get(f"stranger {kind}")
    if strangers is not None and counters.sums[strangers]:
        by_strangers = _decayed(counters, strangers, latest_ms)
        regular = _decayed(counters, _REGULAR, latest_ms)
        counted = believed(by_strangers, impressions - regular, reactions, regular)
        reactions += counted
        shown = max(impressions - (by_strangers - counted), regular)
    rate = RATES[kind]
    value = (reactions + rate.base * rate.strength) / (max(shown, reactions) + rate.strength)
    return round(_STEPS * log2(value))


def believed(by_strangers: float, strangers: float, by_regulars: float, regulars: float) -> float:
    """Return how many reactions count of those by accounts that never read the community before.

    None where half of them react, since no honest readers do; nor more than those who read it
    before would make of them, one reaction more.

    Parameters
    ----------
    by_strangers, by_regulars
        The reactions of both.
    strangers, regulars
        How many of both were shown the post.
    """
    shown = max(strangers, by_strangers)
    if shown <= 0:
        return 0.0
    doubt = max(0.0, 1.0 - 2.0 * by_strangers / shown)
    return min(by_strangers * doubt, shown * (by_regulars + 1.0) / (regulars + 1.0))


def rate_value(steps: int) -> float:
    """Return the probability of a number of steps, a float32 in (0, 1]."""
    (value,) = _float32.unpack(_float32.pack(exp2(steps / _STEPS)))
    return float(value)


def _decayed(counters: Counters, index: int, latest_ms: int) -> float:
    gap = latest_ms - counters.at_ms[index]
    return counters.sums[index] * exp2(-gap / HALF_LIFE_MS) if gap else counters.sums[index]


# What they are of a post without counts, of which no record is written.
BASES: Mapping[str, float] = MappingProxyType(
    {kind: rate_value(rate_steps(kind, Counters())) for kind in RATES}
)
