"""Engagement counters of one post: a fold over its events in offset order, by the events' own time.

The decayed count of a kind at time t is the sum of ``weight * 2 ** (-(t - at) / half_life)`` over
its events (exponential decay; Cormode et al. 2009, "Forward decay").  It is stored as of the
latest event of the kind.  An older event that arrives later is decayed before it is added, so that
no exponent is positive and nothing overflows, however far apart the times are.  No clock: counts
are as of an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp2
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct, field

from feedmill.events.engagement import ENGAGEMENT_KINDS, EngagementKind

HALF_LIFE_MS = 6 * 3_600_000
# A dwell time from which on somebody has read; shorter ones weigh nothing.
LONG_DWELL_MS = 10_000
# Beside the kinds of events: impressions by accounts that read the community before, and hides and
# reports by accounts that did not.
AccountKind = Literal["regular impression", "stranger hide", "stranger report"]
COUNTED_KINDS: tuple[EngagementKind | AccountKind, ...] = (
    *ENGAGEMENT_KINDS,
    "regular impression",
    "stranger hide",
    "stranger report",
)
KIND_INDEX: dict[str, int] = {kind: index for index, kind in enumerate(COUNTED_KINDS)}

_KINDS = len(COUNTED_KINDS)
_Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Real = Annotated[float, Meta(ge=0)]
_ONE_A_KIND = Meta(min_length=_KINDS, max_length=_KINDS)


class Counters(Struct, gc=False):
    """The engagement of one post, as the topic `counters` holds it.  `update` changes it in place.

    Attributes
    ----------
    counts
        Number of events of each kind, in the order of `COUNTED_KINDS`.
    sums
        Decayed number of events of each kind as of ``at_ms`` of the kind; 0 without events.
    at_ms
        Time of the latest event of each kind, Unix milliseconds; 0 without events.
    dwell_ms
        Sum of all dwell times, each rounded to whole milliseconds.
    """

    counts: Annotated[list[_Whole], _ONE_A_KIND] = field(default_factory=lambda: [0] * _KINDS)
    sums: Annotated[list[_Real], _ONE_A_KIND] = field(default_factory=lambda: [0.0] * _KINDS)
    at_ms: Annotated[list[_Whole], _ONE_A_KIND] = field(default_factory=lambda: [0] * _KINDS)
    dwell_ms: _Whole = 0


def update(
    counters: Counters,
    kind: EngagementKind | AccountKind,
    at_ms: int,
    dwell_ms: float | None = None,
    weight: float = 1.0,
) -> None:
    """Add one event, whose decayed number is `weight`; `at_ms` is its own time.

    `dwell_ms` is its dwell time, in milliseconds; a short one has no weight.
    """
    if kind == "dwell" and (dwell_ms or 0.0) < LONG_DWELL_MS:
        weight = 0.0
    index = KIND_INDEX[kind]
    gap = (at_ms - counters.at_ms[index]) / HALF_LIFE_MS
    if counters.counts[index] == 0:
        counters.sums[index] = weight
        counters.at_ms[index] = at_ms
    elif gap >= 0:
        counters.sums[index] = counters.sums[index] * exp2(-gap) + weight
        counters.at_ms[index] = at_ms
    else:
        counters.sums[index] += exp2(gap) * weight
    counters.counts[index] += 1
    if dwell_ms:
        counters.dwell_ms += round(dwell_ms)


def weight_of(kind: EngagementKind, position: int | None, examination: Sequence[float]) -> float:
    """Return how much an event counts: an impression as much as its position is looked at.

    `examination` has this for each position from 0, compared with the first; the last value holds
    for all further ones.  Without it, or without a position, each event counts whole.
    """
    if position is None or not examination or kind != "impression":
        return 1.0
    return examination[min(position, len(examination) - 1)]


def decayed_counts(counters: Sequence[Counters]) -> npt.NDArray[np.float64]:
    """Return the decayed number of events of each kind, as of the last event of each post.

    (len(counters), len(COUNTED_KINDS)) float64, at least 0.
    """
    shape = (len(counters), _KINDS)
    sums = np.array([c.sums for c in counters], dtype=np.float64).reshape(shape)
    at_ms = np.array([c.at_ms for c in counters], dtype=np.int64).reshape(shape)
    # The method `max` calls this from Python: of a few posts that is half of its time.
    gaps = np.maximum.reduce(at_ms, axis=1, keepdims=True) - at_ms
    decayed: npt.NDArray[np.float64] = sums * np.exp2(-gaps / HALF_LIFE_MS)
    return decayed
