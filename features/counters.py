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
from msgspec import Meta, Struct, convert, field, to_builtins

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

    @property
    def last_ms(self) -> int:
        """The time of the latest event counted in, 0 without one."""
        return max(self.at_ms)

    def to_dict(self) -> dict[str, object]:
        """Return plain lists and numbers, for JSON."""
        result: dict[str, object] = to_builtins(self)
        return result

    @classmethod
    def from_dict(cls, plain: dict[str, object]) -> Counters:
        """Read what `to_dict` wrote; raises `msgspec.ValidationError` with the path."""
        return convert(plain, cls)


def update(
    counters: Counters,
    kind: EngagementKind,
    at_ms: int,
    dwell_ms: float | None = None,
    half_life_ms: float = HALF_LIFE_MS,
) -> None:
    """Count one event in."""
    _merge(counters, KIND_INDEX[kind], 1, 1.0, at_ms, half_life_ms)
    if dwell_ms:
        counters.dwell_ms += round(dwell_ms)


def _merge(
    counters: Counters, kind: int, count: int, value: float, at_ms: int, half_life_ms: float
) -> None:
    """Add `count` events worth `value` as of `at_ms`."""
    gap = (at_ms - counters.at_ms[kind]) / half_life_ms
    if counters.counts[kind] == 0:
        counters.sums[kind] = value
        counters.at_ms[kind] = at_ms
    elif gap >= 0:
        counters.sums[kind] = counters.sums[kind] * exp2(-gap) + value
        counters.at_ms[kind] = at_ms
    else:
        counters.sums[kind] += value * exp2(gap)
    counters.counts[kind] += count


def update_many(
    counters: Sequence[Counters],
    rows: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.int64],
    at_ms: npt.NDArray[np.int64],
    dwell_ms: npt.NDArray[np.float64] | None = None,
    half_life_ms: float = HALF_LIFE_MS,
) -> None:
    """Count a batch of events in, in any order: event i belongs to ``counters[rows[i]]``.

    `kinds` are indices into `ENGAGEMENT_KINDS`; `dwell_ms` is 0 or NaN without one.  Equal to
    `update` event by event: integers exactly, decayed sums within rounding (1e-12 relative).
    """
    if not len(rows):
        return
    cells = rows * len(ENGAGEMENT_KINDS) + kinds
    touched, cell_of = np.unique(cells, return_inverse=True)
    latest = np.zeros(len(touched), dtype=np.int64)
    np.maximum.at(latest, cell_of, at_ms)
    worth = np.exp2((at_ms - latest[cell_of]) / half_life_ms)
    values = np.bincount(cell_of, weights=worth, minlength=len(touched))
    counts = np.bincount(cell_of, minlength=len(touched))
    owners, columns = np.divmod(touched, len(ENGAGEMENT_KINDS))
    for owner, kind, count, value, at in zip(
        owners.tolist(),
        columns.tolist(),
        counts.tolist(),
        values.tolist(),
        latest.tolist(),
        strict=True,
    ):
        _merge(counters[owner], kind, count, value, at, half_life_ms)
    if dwell_ms is not None:
        _add_dwell(counters, rows, dwell_ms)


def _add_dwell(
    counters: Sequence[Counters], rows: npt.NDArray[np.int64], dwell_ms: npt.NDArray[np.float64]
) -> None:
    whole = np.rint(np.nan_to_num(dwell_ms)).astype(np.int64)
    some = np.flatnonzero(whole)
    for row, dwell in zip(rows[some].tolist(), whole[some].tolist(), strict=True):
        counters[row].dwell_ms += dwell


def decayed_matrix(
    counters: Sequence[Counters], half_life_ms: float = HALF_LIFE_MS
) -> npt.NDArray[np.float64]:
    """Return each kind's decayed number as of the post's own last event: (rows, len(KINDS))."""
    shape = (len(counters), len(ENGAGEMENT_KINDS))
    sums = np.array([c.sums for c in counters], dtype=np.float64).reshape(shape)
    at_ms = np.array([c.at_ms for c in counters], dtype=np.int64).reshape(shape)
    gaps = at_ms.max(axis=1, keepdims=True, initial=0) - at_ms
    decayed: npt.NDArray[np.float64] = sums * np.exp2(-gaps / half_life_ms)
    return decayed
