"""The metrics of several processes as one text."""

from __future__ import annotations

from collections.abc import Iterable

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


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
