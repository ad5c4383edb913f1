"""The setting `readers/<feed>`: that readers serve a feed, and how far a request may change it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from feedmill.events.errors import BadSetting
from feedmill.events.signal import SignalNames

Range = tuple[float, float]

# The most doublings that an adjustment may add or take: beyond it nothing of a score is left.
MOST_ADJUSTMENT = 64.0


class ReaderBounds(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Within which ranges a request may choose; what is not named stays as in the feed.

    Attributes
    ----------
    weights, costs
        By objective and by cost the lowest and the highest value.
    half_life_hours, adjust
        The same of the half-life, and of the doublings by author and community.
    """

    weights: Mapping[str, Range] = {}
    costs: Mapping[str, Range] = {}
    half_life_hours: Range | None = None
    adjust: Range | None = None

    @property
    def weighed(self) -> Iterator[str]:
        """The signals that some request may weigh."""
        for ranges in (self.weights, self.costs):
            yield from (name for name, (_, highest) in ranges.items() if highest)


def decode_reader_bounds(value: dict[str, Any], names: SignalNames) -> ReaderBounds:
    """Return the bounds of a setting's value.

    Raises
    ------
    msgspec.ValidationError
        The value does not fit `ReaderBounds`.
    BadSetting
        A signal is unknown, or a range is upside down or outside of what weights may be.
    """
    bounds = msgspec.convert(value, ReaderBounds)
    for kind, ranges, known, most in (
        ("weights", bounds.weights, names.objectives, 1e6),
        ("costs", bounds.costs, names.costs, 1e4),
    ):
        _check_names(f"$.value.{kind}", ranges, known)
        for name, found in ranges.items():
            _check_range(f"$.value.{kind}.{name}", found, 0.0, most)
    if bounds.half_life_hours is not None:
        _check_range("$.value.half_life_hours", bounds.half_life_hours, 0.1, 87_600.0)
    if bounds.adjust is not None:
        _check_range("$.value.adjust", bounds.adjust, -MOST_ADJUSTMENT, MOST_ADJUSTMENT)
    return bounds


def _check_names(path: str, found: Collection[str], known: Collection[str]) -> None:
    for name in found:
        if name not in known:
            raise BadSetting(
                f"Expected one of {', '.join(known)}, got {name[:80]!r} - at `{path}`;"
                " FEEDMILL_SIGNALS declares further ones"
            )


def _check_range(path: str, found: Range, least: float, most: float) -> None:
    low, high = found
    if not least <= low <= high <= most:
        raise BadSetting(
            f"Expected the lowest and the highest value, from {least:g} to {most:g}, got"
            f" [{low:g}, {high:g}] - at `{path}`"
        )
