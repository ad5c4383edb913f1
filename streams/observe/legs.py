"""Measures how long records take from Kafka to Redis, leg by leg: `feedmill_leg_seconds`.

    timestamp ─► fetched ─► judged ─► ranked ─► Redis

`Scrape` computes the times from the metrics of workers at two moments, for `feedmill latency`.
Signals of other workers come judged, so they have no second leg.  The records of a cycle are
measured together, as so many observations; only the first leg uses each record's timestamp.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from feedmill.events.instance import LegTimes
from feedmill.streams.kafka.batches import RecordBatch, columns_of
from feedmill.streams.observe.metrics import Distribution, Histogram, Metrics

# The name of all topics of signals together.
SIGNALS = "signals"
# So many arrivals are measured at most while Redis is away.
MOST_PENDING = 1_000
# Heartbeats have the times of the last minute.
_LOOKS, _LOOK_EVERY_S = 12, 5.0
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


class Arrivals:
    """The records of one topic that one cycle brought, on their way to Redis.

    `judged`, `ranked` and `written` are called in this order, on the loop's thread.  Times are
    seconds of `time.monotonic`.
    """

    def __init__(
        self,
        legs: Legs,
        batches: Sequence[RecordBatch],
        wall_s: float,
        monotonic_s: float,
        signals: str = "",
    ) -> None:
        """Observe what was fetched just now: batches of one topic, or of topics of `signals`."""
        first = batches[0]
        self._legs, self._topic = legs, signals or first.source.topic
        self._start = "append" if first.is_append_time else "create"
        self._fetched_s = self._reached_s = monotonic_s
        self._is_judged = bool(signals)
        # Read from the columns, so that no record is made for its timestamp alone.
        times_ms = [at_ms for batch in batches for at_ms in columns_of(batch.records).timestamps]
        # 0 if the host's clock is behind the broker's.
        delays_s = [max(wall_s - at_ms / 1000, 0.0) for at_ms in times_ms]
        self._records = len(delays_s)
        self._delay_s = sum(delays_s) / self._records
        to_fetch = legs.histogram(self._topic, f"{self._start}_to_fetch")
        for delay_s in delays_s:
            to_fetch.observe(delay_s)
        legs.metrics.observe("feedmill_batch_records", self._records, topic=self._topic)

    def judged(self) -> None:
        """Every model has scored the records; a second call changes nothing."""
        if not self._is_judged:
            self._is_judged = True
            self._reach("fetch_to_judged", time.monotonic())

    def ranked(self) -> None:
        """What the records change is handed to the Redis writer."""
        self._reach("judged_to_ranked", time.monotonic())

    def written(self, at_s: float) -> None:
        """Redis has answered."""
        self._reach("ranked_to_redis", at_s)
        whole = self._legs.histogram(self._topic, f"{self._start}_to_redis")
        whole.observe(self._delay_s + at_s - self._fetched_s, self._records)

    def _reach(self, leg: str, at_s: float) -> None:
        self._legs.histogram(self._topic, leg).observe(at_s - self._reached_s, self._records)
        self._reached_s = at_s


class PendingArrivals:
    """Arrivals that are judged and not yet handed to the Redis writer."""

    def __init__(self) -> None:
        self._pending: list[Arrivals] = []

    def add(self, arrivals: Iterable[Arrivals]) -> None:
        """Note that arrivals are judged; beyond `MOST_PENDING` they are not measured further."""
        for arrival in arrivals:
            arrival.judged()
            if len(self._pending) < MOST_PENDING:
                self._pending.append(arrival)

    def take(self) -> tuple[Arrivals, ...]:
        """Note that all pending arrivals are ranked, and return them."""
        taken, self._pending = tuple(self._pending), []
        for arrival in taken:
            arrival.ranked()
        return taken

    def drop(self) -> None:
        """Measure the pending arrivals no further: another worker writes Redis."""
        self._pending = []


class Legs:
    """The histograms of the legs of one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        # To find a histogram by its labels takes microseconds.
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def fetched(self, *topics: Sequence[RecordBatch]) -> tuple[Arrivals, ...]:
        """Observe what a cycle took just now, the batches of each topic apart."""
        wall_s, monotonic_s = time.time(), time.monotonic()
        return (*[Arrivals(self, batches, wall_s, monotonic_s) for batches in topics if batches],)

    def signals_fetched(self, batches: Sequence[RecordBatch]) -> tuple[Arrivals, ...]:
        """Observe signals of other workers that were read just now."""
        if not batches:
            return ()
        return (Arrivals(self, batches, time.time(), time.monotonic(), SIGNALS),)

    def histogram(self, topic: str, leg: str) -> Histogram:
        """Return the histogram of a leg."""
        found = self._histograms.get((topic, leg))
        if found is None:
            found = self.metrics.histogram("feedmill_leg_seconds", topic=topic, leg=leg)
            self._histograms[topic, leg] = found
        return found

    def counts(self) -> Mapping[tuple[str, str], tuple[int, ...]]:
        """Return the counts of each histogram by topic and leg."""
        return {at: found.counts() for at, found in self._histograms.items()}


class RecentLegs:
    """What the legs of a worker took in the last minute."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self._looks = deque([(time.monotonic(), legs.counts())], maxlen=_LOOKS)

    def times(self) -> dict[str, dict[str, LegTimes]]:
        """Return the times by topic and leg, of those that saw records."""
        now = time.monotonic()
        first_s, first = self._looks[0]
        counts = self._legs.counts()
        if now - self._looks[-1][0] >= _LOOK_EVERY_S:
            self._looks.append((now, counts))
        found: dict[str, dict[str, LegTimes]] = {}
        for (topic, leg), after in counts.items():
            before = first.get((topic, leg), (0,) * len(after))
            if after != before:
                seen = self._legs.histogram(topic, leg).since(before, max(now - first_s, 1.0))
                found.setdefault(topic, {})[leg] = _leg_times(seen)
        return found


def _leg_times(seen: Distribution) -> LegTimes:
    p50, p99 = (min(seen.quantile(q) or 0.0, seen.bounds[-2]) for q in (0.5, 0.99))
    return LegTimes(round(p50 * 1000, 1), round(p99 * 1000, 1), round(seen.per_second, 1))


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
