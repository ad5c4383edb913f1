"""Further signals of engagement: how probable each reaction is for whoever is shown a post.

The base of the kind is moved by decayed counts, as the mean of a Beta distribution that is worth
`strength` impressions.  Values are rounded to a 32nd of a doubling, 1.1 % at most, so that few
engagements change one.
"""

from __future__ import annotations

from math import exp2
from typing import Final

from feedmill.events.rates import ReactionRate, rate_steps_of
from feedmill.features.counters import HALF_LIFE_MS, KIND_INDEX, Counters

_IMPRESSION: Final = KIND_INDEX["impression"]
_REGULAR: Final = KIND_INDEX["regular impression"]


def rate_steps(kind: str, counters: Counters, rate: ReactionRate) -> int:
    """Return the probability of a reaction to a post, as `rate_steps_of` does.

    `rate` is that of the kind before a post has counts.
    """
    reactions, shown = reactions_of(kind, counters)
    value = (reactions + rate.base * rate.strength) / (shown + rate.strength)
    return rate_steps_of(value)


def reactions_of(kind: str, counters: Counters) -> tuple[float, float]:
    """Return how many reactions of a kind count, and to how many impressions.

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
    return reactions, max(shown, reactions)


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


def _decayed(counters: Counters, index: int, latest_ms: int) -> float:
    gap = latest_ms - counters.at_ms[index]
    return counters.sums[index] * exp2(-gap / HALF_LIFE_MS) if gap else counters.sums[index]
