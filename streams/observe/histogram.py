"""Histograms, and their text for Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


@dataclass(frozen=True)
class Distribution:
    """Observations within a time, as buckets; the unit is that of the metric.

    `bounds` are ascending, the last one is infinite; `counts` are of each bucket alone.
    `per_second` is the rate of all workers together.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    per_second: float = 0.0

    @property
    def count(self) -> float:
        """How many observations there were."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """The value that a share `q` of the observations does not exceed; None without any.

        Within a bucket they count as spread evenly.  Above the highest finite bound it is infinite.
        """
        if not self.count:
            return None
        wanted, below, low = q * self.count, 0.0, 0.0
        for high, count in zip(self.bounds, self.counts, strict=True):
            if count and below + count >= wanted:
                return high if math.isinf(high) else low + (high - low) * (wanted - below) / count
            below, low = below + count, high
        return math.inf


class Histogram:
    """Counts observations in buckets; `bounds` are the upper bounds, ascending.

    One thread observes; others may read at any time.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, as often as it occurred."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def observe_many(self, values: Sequence[float]) -> None:
        """Count each of these values."""
        for value in values:
            self.observe(value)

    def counts(self) -> tuple[int, ...]:
        """How many observations each bucket has, the one above all bounds last."""
        return tuple(self._counts)

    def since(self, earlier: Sequence[int], seconds: float) -> Distribution:
        """What was observed in the last seconds, after `counts` were these."""
        found = [now - before for now, before in zip(self._counts, earlier, strict=True)]
        return Distribution((*self._bounds, math.inf), tuple(found), sum(found) / seconds)

    def cumulative(self) -> tuple[list[tuple[str, int]], float]:
        """By upper bound how many observations are not above it, "+Inf" last; and their sum."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, accumulate(list(self._counts)), strict=True)), self._sum


class HistogramFamily(Collector):
    """One metric: a `Histogram` for each combination of labels."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._documentation = name, documentation
        self._labels, self._bounds = tuple(labels), bounds
        self._members: dict[tuple[str, ...], Histogram] = {}

    def labels(self, **values: str) -> Histogram:
        """Return the histogram of these labels, always the same one."""
        key = tuple(values[label] for label in self._labels)
        if key not in self._members:
            self._members[key] = Histogram(self._bounds)
        return self._members[key]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the family as prometheus_client has it."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        # Another thread may add a member meanwhile.
        for key, member in list(self._members.items()):
            buckets, total = member.cumulative()
            family.add_metric(key, buckets, sum_value=total)
        return [family]
