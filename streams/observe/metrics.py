"""The metrics of one process: counted, set and observed by name, and printed for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from feedmill.streams.observe.histogram import Histogram, HistogramFamily
from feedmill.streams.observe.metric import Metric
from feedmill.streams.observe.metric_list import METRICS

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
        # A look by labels takes microseconds.
        self._labelled_ones: dict[tuple[Any, ...], Any] = {}

    def of_stage(self, stage: str) -> Metrics:
        """The same metrics under another stage's name: `text` has those of both."""
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
    """Gathers each family of several texts once, with the samples of all."""

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
