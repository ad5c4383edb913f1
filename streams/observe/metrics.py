"""The metrics of one process: counted, set and observed by name, and printed for Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import prometheus_client
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from feedmill.streams.observe.metric_list import METRICS, Metric


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
        """Return the value that a share `q` of the observations does not exceed; None without any.

        Observations within a bucket count as spread evenly.  Above the highest finite bound the
        value is infinite.
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


# From half a millisecond to twelve seconds, each a third or a half above the one before.
_SECONDS = tuple(sorted(first * 2**i for i in range(15) for first in (0.0005, 0.00075)))
# A step may hold the loop for 20 ms (`Step`): finer around that.
_LOOP_SECONDS = tuple(sorted({*_SECONDS, 0.010, 0.015, 0.020, 0.030, 0.050}))
_RECORDS = tuple(float(first * 10**i) for i in range(4) for first in (1, 2, 5))

_BY_NAME = {metric.name: metric for metric in METRICS}


class Metrics:
    """The metrics of one process; `name` is always one of `METRICS`, `labels` are its own.

    A metric appears in `text` once it has a value.
    """

    def __init__(self, stage: str, instance: str) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        self._process_labels = {"stage": stage, "instance": instance}
        self._replaced: dict[str, dict[tuple[str, ...], float]] = {}
        self._used: dict[str, Any] = {}
        self._totals: dict[str, float] = {}
        # To find a metric by its labels takes microseconds.
        self._labelled_ones: dict[tuple[Any, ...], Any] = {}

    def of_stage(self, stage: str) -> Metrics:
        """Return the same metrics under another stage's name; `text` has those of both."""
        other = Metrics(stage, self._process_labels["instance"])
        other._registry, other._used = self._registry, self._used
        return other

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Increase a counter."""
        self._labelled(name, labels).inc(amount)

    def add_up_to(self, name: str, total: float) -> None:
        """Increase a counter to what somebody else has counted since the start."""
        self.add(name, total - self._totals.get(name, 0.0))
        self._totals[name] = total

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._labelled(name, labels).set(value)

    def replace(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge for these labels, in their order, and drop it for all others."""
        labels, before = _BY_NAME[name].labels, self._replaced.get(name, {})
        for given in before.keys() - values.keys():
            self._used[name].remove(*self._process_labels.values(), *given)
            self._labelled_ones.pop((name, *zip(labels, given, strict=True)), None)
        for given, value in values.items():
            # A thousand partitions take 10 ms to set, and most keep their value.
            if before.get(given) != value:
                self.set(name, value, **dict(zip(labels, given, strict=True)))
        self._replaced[name] = dict(values)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self.histogram(name, **labels).observe(value)

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Return a histogram, for whoever observes often; one thread at a time may observe."""
        found: Histogram = self._labelled(name, labels)
        return found

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry).decode()

    def _labelled(self, name: str, labels: dict[str, str]) -> Any:
        key = (name, *labels.items())
        found = self._labelled_ones.get(key)
        if found is None:
            found = self._labelled_ones[key] = self._new_labelled(name, labels)
        return found

    def _new_labelled(self, name: str, labels: dict[str, str]) -> Any:
        if name not in self._used:
            self._used[name] = self._register(_BY_NAME[name])
        return self._used[name].labels(**self._process_labels, **labels)

    def _register(self, metric: Metric) -> Any:
        names = ("stage", "instance", *metric.labels)
        documentation = f"{metric.meaning} Unit: {metric.unit}."
        if metric.kind == "histogram":
            bounds = _SECONDS if metric.unit == "seconds" else _RECORDS
            bounds = _LOOP_SECONDS if metric.name.startswith("feedmill_loop_") else bounds
            family = HistogramFamily(metric.name, documentation, names, bounds)
            self._registry.register(family)
            return family
        kind = prometheus_client.Counter if metric.kind == "counter" else prometheus_client.Gauge
        return kind(metric.name, documentation, names, registry=self._registry)


class _MergedTexts(Collector):
    """Merges several texts: each family once, with the samples of all texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[prometheus_client.Metric]:
        families: dict[str, prometheus_client.Metric] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text):
                if family.name in families:
                    families[family.name].samples.extend(family.samples)
                else:
                    families[family.name] = family
        return families.values()


def merge(texts: Iterable[str]) -> str:
    """The metrics of several processes as one text in Prometheus' format, each family once."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(_MergedTexts(texts))
    return prometheus_client.generate_latest(registry).decode()
