"""Engagement counters of one post: a fold over its events in offset order, by the events' own time.

The decayed value of a kind at time t is the sum of ``2 ** (-(t - at) / half_life)`` over its events
(exponential decay; Cormode et al. 2009, "Forward decay").  It is kept as the value at the kind's
latest event: an earlier event that comes late is decayed itself, so that no exponent is ever
positive and nothing overflows, however far apart the times.  No clock: a value is as of an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp2
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct, field

from feedmill.events.engagement import ENGAGEMENT_KINDS, EngagementKind

HALF_LIFE_MS = 6 * 3_600_000
KIND_INDEX: dict[str, int] = {kind: index for index, kind in enumerate(ENGAGEMENT_KINDS)}

_Whole = Annotated[int, Meta(ge=0)]
_Real = Annotated[float, Meta(ge=0)]
_EIGHT = Meta(min_length=len(ENGAGEMENT_KINDS), max_length=len(ENGAGEMENT_KINDS))


def _no_counts() -> list[int]:
    return [0] * len(ENGAGEMENT_KINDS)


def _no_sums() -> list[float]:
    return [0.0] * len(ENGAGEMENT_KINDS)


class Counters(Struct, gc=False):
    """One post's engagement; lists are in the order of `ENGAGEMENT_KINDS`.  Changed in place.

    ``sums[k]`` is the decayed number of events of kind k as of ``at_ms[k]``, the time of that
    kind's latest event; 0 events leave both 0.  Dwell is summed in whole milliseconds.
    """

    counts: Annotated[list[_Whole], _EIGHT] = field(default_factory=_no_counts)
    sums: Annotated[list[_Real], _EIGHT] = field(default_factory=_no_sums)
    at_ms: Annotated[list[_Whole], _EIGHT] = field(default_factory=_no_counts)
    dwell_ms: _Whole = 0


def update(
    counters: Counters,
    kind: EngagementKind,
    at_ms: int,
    dwell_ms: float | None = None,
    half_life_ms: float = HALF_LIFE_MS,
) -> None:
    """Count one event in."""
    index = KIND_INDEX[kind]
    gap = (at_ms - counters.at_ms[index]) / half_life_ms
    if counters.counts[index] == 0:
        counters.sums[index] = 1.0
        counters.at_ms[index] = at_ms
    elif gap >= 0:
        counters.sums[index] = counters.sums[index] * exp2(-gap) + 1.0
        counters.at_ms[index] = at_ms
    else:
        counters.sums[index] += exp2(gap)
    counters.counts[index] += 1
    if dwell_ms:
        counters.dwell_ms += round(dwell_ms)


def decayed_counts(
    counters: Sequence[Counters], half_life_ms: float = HALF_LIFE_MS
) -> npt.NDArray[np.float64]:
    """Return each kind's decayed number as of the post's own last event: (rows, len(KINDS))."""
    shape = (len(counters), len(ENGAGEMENT_KINDS))
    sums = np.array([c.sums for c in counters], dtype=np.float64).reshape(shape)
    at_ms = np.array([c.at_ms for c in counters], dtype=np.int64).reshape(shape)
    gaps = at_ms.max(axis=1, keepdims=True, initial=0) - at_ms
    decayed: npt.NDArray[np.float64] = sums * np.exp2(-gaps / half_life_ms)
    return decayed
