"""Every metric, in one typed list: name, kind, unit, and what to do when it rises.

`docs/metrics.md` is made of this list; `Metrics` is its Prometheus form, one a process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# From half a millisecond to ten seconds, doubling.
_SECONDS = tuple(0.0005 * 2**i for i in range(15))


@dataclass(frozen=True)
class Metric:
    """One metric; `labels` beside `stage` and `instance`, which every one has."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    when_it_rises: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric(
        "feedmill_events_total",
        "counter",
        "events",
        "Records that were dealt with, by topic.",
        "Traffic; compare with the producers' own count.",
        ("topic",),
    ),
    Metric(
        "feedmill_rejected_total",
        "counter",
        "records",
        "Records that break the contract, by topic.",
        "Read `dead-letters`: each has the field, what was expected and what was found.",
        ("topic",),
    ),
    Metric(
        "feedmill_letters_total",
        "counter",
        "records",
        "Dead letters this instance wrote.",
        "As for feedmill_rejected_total; ranking goes on meanwhile.",
    ),
    Metric(
        "feedmill_model_errors_total",
        "counter",
        "posts",
        "Posts on which the model failed; their gate or prior decides.",
        "Read `error` in the signal; roll the model back if it is new.",
    ),
    Metric(
        "feedmill_capped_sources",
        "gauge",
        "sources",
        "Communities, languages and linked hosts of which the filter flags more than"
        " FEEDMILL_FLAGGED_CAP; it demotes there instead of hiding.",
        "The log names them. The filter is wrong there, or it is an attack: look at some posts,"
        " then hide by rules, or put the filter in shadow.",
    ),
    Metric(
        "feedmill_capped_total",
        "counter",
        "posts",
        "Posts that were demoted instead of hidden because of it.",
        "As for feedmill_capped_sources.",
    ),
    Metric(
        "feedmill_rule_hits_total",
        "counter",
        "posts",
        "Posts that an operator's rule decided instead of the model, by the rule's verdict.",
        "A rule hits more than was meant: `decided_by` of the posts names it.",
        ("verdict",),
    ),
    Metric(
        "feedmill_duplicates_total",
        "counter",
        "events",
        "Engagements that were counted already: a repeated event_id, or read again after a crash.",
        "A producer retries without idempotence, or a stage restarts often.",
    ),
    Metric(
        "feedmill_batch_seconds",
        "histogram",
        "seconds",
        "From having a batch to its effects being acknowledged.",
        "The model or the broker has become slow; add instances of the stage.",
    ),
    Metric(
        "feedmill_loop_seconds",
        "histogram",
        "seconds",
        "One cycle of a worker's loop without its waiting: how long nothing else could be done.",
        "A batch was large, or a step works in too large slices.",
    ),
    Metric(
        "feedmill_commit_seconds",
        "histogram",
        "seconds",
        "One transaction: records and offsets, from its beginning to the broker's answer.",
        "The broker has become slow; what others read of this worker is that much older.",
    ),
    Metric(
        "feedmill_commit_records_total",
        "counter",
        "records",
        "Records that were committed in transactions.",
        "Traffic.",
    ),
    Metric(
        "feedmill_aborts_total",
        "counter",
        "transactions",
        "Transactions that failed; what they held was sent again, or was another worker's.",
        "Rebalances, or the broker is away: read the log.",
    ),
    Metric(
        "feedmill_clock_refused_total",
        "counter",
        "timestamps",
        "Timestamps of the broker more than an hour from the time so far, which were refused.",
        "The broker's clock jumped: mend it, or restart all workers to follow it.",
    ),
    Metric(
        "feedmill_lag",
        "gauge",
        "records",
        "Records that are written but not yet dealt with.",
        "The stage is down, slow or short of instances.",
    ),
    Metric(
        "feedmill_ready",
        "gauge",
        "0 or 1",
        "Whether the instance has caught up and serves.",
        "It is good at 1; at 0 read the instance's log.",
    ),
    Metric(
        "feedmill_config_offset",
        "gauge",
        "offset",
        "The last record of `config` this instance has dealt with.",
        "An operator changed a setting; all instances should agree within moments.",
    ),
    Metric(
        "feedmill_refused_settings_total",
        "counter",
        "records",
        "Settings this instance refused.",
        "`feedmill config history` shows each with its reason.",
    ),
    Metric(
        "feedmill_posts",
        "gauge",
        "posts",
        "Posts in the combiner's view by decision under the default gates.",
        "`hold`: a filter is behind or down. `hide`: an attack, or a filter gone wrong.",
        ("decision",),
    ),
    Metric(
        "feedmill_feeds",
        "gauge",
        "feeds",
        "Feeds that exist.",
        "New communities; `max_feeds` of their pattern bounds them.",
    ),
    Metric(
        "feedmill_feeds_refused_total",
        "counter",
        "posts",
        "Times that `max_feeds` kept a feed from being made.",
        "Raise `max_feeds` in `feeds/community:*`, or look for invented community names.",
    ),
    Metric(
        "feedmill_cycle_seconds",
        "histogram",
        "seconds",
        "One cycle of the combiner: rank what changed and write it to Redis.",
        "Redis is slow, or too many feeds change at once.",
    ),
    Metric(
        "feedmill_redis_errors_total",
        "counter",
        "errors",
        "Writes to Redis that failed; everything is written again when it is back.",
        "Redis is away or full; feeds grow stale meanwhile.",
    ),
    Metric(
        "feedmill_redis_refused_total",
        "counter",
        "writes",
        "Writes that Redis refused because a newer owner has the feed.",
        "Two combiners take turns; a paused one has woken up.",
    ),
    Metric(
        "feedmill_stage_restarts_total",
        "counter",
        "restarts",
        "Stages that the supervisor started again, by stage.",
        "The stage dies: read its last log lines.",
        ("child",),
    ),
)

_BY_NAME = {metric.name: metric for metric in METRICS}


class Metrics:
    """The metrics of one process; each call names one of `METRICS`."""

    def __init__(self, stage: str, instance: str) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        self._own = {"stage": stage, "instance": instance}
        self._made: dict[str, prometheus_client.metrics.MetricWrapperBase] = {}

    def of_stage(self, stage: str) -> Metrics:
        """Return metrics in the same registry that carry another stage's name."""
        other = Metrics.__new__(Metrics)
        other._registry, other._made = self._registry, self._made
        other._own = {**self._own, "stage": stage}
        return other

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count up."""
        self._labelled(name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._labelled(name, labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self._labelled(name, labels).observe(value)

    def text(self) -> str:
        """Return all of it in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry).decode()

    def _labelled(self, name: str, labels: dict[str, str]) -> Any:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(_BY_NAME[name])
        return made.labels(**self._own, **labels)

    def _make(self, metric: Metric) -> prometheus_client.metrics.MetricWrapperBase:
        names = ("stage", "instance", *metric.labels)
        about = f"{metric.meaning} Unit: {metric.unit}."
        if metric.kind == "histogram":
            return prometheus_client.Histogram(
                metric.name, about, names, registry=self._registry, buckets=_SECONDS
            )
        kind = prometheus_client.Counter if metric.kind == "counter" else prometheus_client.Gauge
        return kind(metric.name, about, names, registry=self._registry)


class _Families(Collector):
    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[prometheus_client.Metric]:
        merged: dict[str, prometheus_client.Metric] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text):
                kept = merged.setdefault(family.name, family)
                if kept is not family:
                    kept.samples.extend(family.samples)
        return merged.values()


def merge(texts: Iterable[str]) -> str:
    """Several processes' metrics as one text, each family once."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(_Families(texts))
    return prometheus_client.generate_latest(registry).decode()
