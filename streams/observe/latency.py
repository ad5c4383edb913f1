"""Computes, from the metrics of workers at two moments, how long things took in between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from feedmill.streams.observe.metrics import Distribution

# The legs in their order, as rows of a table; see docs/metrics.md.
LEGS = (
    *("append_to_fetch", "create_to_fetch", "fetch_to_judged", "judged_to_ranked"),
    *("ranked_to_redis", "append_to_redis", "create_to_redis"),
)
TOPICS = ("posts", "engagements", "signals")
# Histograms of a worker as a whole: what a row calls them, and their metric.
OF_THE_WORKER = {
    "loop": "feedmill_loop_seconds",
    "commit": "feedmill_commit_seconds",
    "batch": "feedmill_batch_records",
}

_LAG = "feedmill_partition_lag"
_TIMESTAMP = "feedmill_metrics_timestamp_seconds"
# The legs name their rows themselves.
_ROW_OF = {"feedmill_leg_seconds": "", **{metric: row for row, metric in OF_THE_WORKER.items()}}
# The row and the topic of a histogram; "" if it has no topic.
RowKey = tuple[str, str]
# By upper bound the number of observations up to it.
Buckets = Mapping[float, float]


@dataclass(frozen=True)
class PartitionLag:
    """The lag of a consumer group on a topic: in all, and in the worst partition."""

    group: str
    topic: str
    lag: int
    worst_partition: int
    worst_lag: int


class Scrape:
    """The metrics of workers at one moment; `texts` has the answer of `/metrics` by address."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.is_of_feedmill = False
        # By row, then by worker, so that the restart of a worker is noticed.
        self._series: dict[RowKey, dict[tuple[str, ...], dict[float, float]]] = {}
        self._lag: dict[tuple[str, str], dict[int, float]] = {}
        self._at_s: dict[tuple[str, str], float] = {}
        for address, text in texts.items():
            for family in text_string_to_metric_families(text):
                self.is_of_feedmill |= family.name.startswith("feedmill_")
                if family.name == _LAG:
                    self._take_lag(family)
                elif family.name == _TIMESTAMP:
                    for sample in family.samples:
                        self._at_s[address, sample.labels["instance"]] = sample.value
                elif family.name in _ROW_OF:
                    self._take_histogram(address, family)

    @property
    def lags(self) -> list[PartitionLag]:
        """The lag of each group on each topic, at this moment."""
        return [
            PartitionLag(group, topic, int(sum(lag.values())), worst, int(lag[worst]))
            for (group, topic), lag in sorted(self._lag.items())
            for worst in [max(sorted(lag), key=lag.__getitem__)]
        ]

    def since(self, earlier: Scrape) -> dict[RowKey, Distribution]:
        """Return what was observed after an earlier moment, of all workers together.

        Of a worker that started in between, all observations count.
        """
        found = {}
        for key in self._series:
            before = earlier._series.get(key, {})
            differences, per_second = [], 0.0
            for worker, buckets in self._series[key].items():
                difference = _difference(buckets, before.get(worker, {}))
                differences.append(difference)
                seconds = self._seconds_since(earlier, worker)
                per_second += difference[math.inf] / seconds if seconds > 0 else 0.0
            found[key] = _together(differences, per_second)
        return found

    def _seconds_since(self, earlier: Scrape, worker: tuple[str, ...]) -> float:
        """Return the seconds between the two moments of a worker; 0 for a new worker."""
        address, _, instance = worker
        at_s = self._at_s.get((address, instance), 0.0)
        return at_s - earlier._at_s.get((address, instance), at_s)

    def _take_lag(self, family: Metric) -> None:
        for sample in family.samples:
            labels = sample.labels
            lag = self._lag.setdefault((labels["group"], labels["topic"]), {})
            lag[int(labels["partition"])] = sample.value

    def _take_histogram(self, address: str, family: Metric) -> None:
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                continue
            labels = sample.labels
            key = (labels.get("leg") or _ROW_OF[family.name], labels.get("topic", ""))
            worker = (address, labels["stage"], labels["instance"])
            buckets = self._series.setdefault(key, {}).setdefault(worker, {})
            buckets[float(labels["le"])] = sample.value


def _difference(later: Buckets, earlier: Buckets) -> Buckets:
    """Return the counts between two moments; where they fell, the worker had restarted."""
    restarted = any(later[bound] < earlier.get(bound, 0.0) for bound in later)
    return later if restarted else {b: n - earlier.get(b, 0.0) for b, n in later.items()}


def _together(cumulative: Iterable[Buckets], per_second: float) -> Distribution:
    total: dict[float, float] = {}
    for buckets in cumulative:
        for bound, count in buckets.items():
            total[bound] = total.get(bound, 0.0) + count
    bounds = tuple(sorted(total))
    counts = [total[bound] for bound in bounds]
    alone = [counts[0], *(b - a for a, b in itertools.pairwise(counts))] if counts else []
    return Distribution(bounds, tuple(alone), per_second)
