"""Metrics of one process and of several."""

import re
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from feedmill.streams.observe.metric_list import METRICS
from feedmill.streams.observe.metrics import HistogramFamily, Metrics, merge


def samples(text: str) -> dict[tuple[str, str], float]:
    """Values by name of the sample and its labels, `stage` and `instance` left out."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("stage", "instance")}
            found[sample.name, ",".join(f"{k}={v}" for k, v in sorted(labels.items()))] = (
                sample.value
            )
    return found


def test_each_kind_of_metric_is_counted_by_its_labels_in_its_buckets() -> None:
    metrics = Metrics("spam", "one")
    assert metrics.text() == ""
    metrics.add("feedmill_events_total", 3, topic="posts")
    metrics.add("feedmill_events_total", topic="posts")
    metrics.add("feedmill_events_total", topic="config")
    for total in (2, 2, 7):
        metrics.add_up_to("feedmill_model_swaps_total", total)
    metrics.set("feedmill_lag", 7)
    metrics.set("feedmill_lag", 5)
    loops = ("feedmill_loop_seconds", "feedmill_loop_cpu_seconds")
    for name in loops:
        metrics.observe(name, 0.0199)
        metrics.observe(name, 0.0201)
    metrics.observe("feedmill_batch_records", 7, topic="posts")
    found = samples(metrics.text())
    assert found["feedmill_events_total", "topic=posts"] == 4
    assert found["feedmill_events_total", "topic=config"] == 1
    assert found["feedmill_model_swaps_total", ""] == 7
    assert found["feedmill_lag", ""] == 5
    for name in loops:
        assert found[f"{name}_count", ""] == 2
        assert found[f"{name}_sum", ""] == pytest.approx(0.04)
        # A bucket ends where a step must.
        assert found[f"{name}_bucket", "le=0.02"] == 1
        assert found[f"{name}_bucket", "le=0.024"] == 2
    assert found["feedmill_batch_records_bucket", "le=5.0,topic=posts"] == 0
    assert found["feedmill_batch_records_bucket", "le=10.0,topic=posts"] == 1


def test_a_gauge_that_is_replaced_keeps_no_old_labels() -> None:
    metrics = Metrics("worker", "one")
    first, second = ("worker", "posts", "0"), ("worker", "posts", "1")
    metrics.replace("feedmill_partition_lag", {first: 5, second: 7})
    metrics.replace("feedmill_partition_lag", {second: 3})
    assert samples(metrics.text()) == {
        ("feedmill_partition_lag", "group=worker,partition=1,topic=posts"): 3
    }
    metrics.replace("feedmill_partition_lag", {first: 4, second: 3})
    found = samples(metrics.text())
    assert found["feedmill_partition_lag", "group=worker,partition=0,topic=posts"] == 4


def test_the_stages_of_one_process_share_a_text_that_names_stage_and_instance() -> None:
    metrics = Metrics("spam", "one")
    other = metrics.of_stage("nsfw")
    metrics.set("feedmill_ready", 1)
    other.set("feedmill_ready", 0)
    (family,) = text_string_to_metric_families(metrics.text())
    assert {s.labels["stage"]: s.value for s in family.samples} == {"spam": 1, "nsfw": 0}
    assert all(s.labels.keys() == {"stage", "instance"} for s in family.samples)
    assert {s.labels["instance"] for s in family.samples} == {"one"}
    assert family.documentation.endswith("Unit: 0 or 1.")
    assert other.text() == metrics.text()


def test_several_processes_are_merged_family_by_family() -> None:
    texts = []
    for stage in ("spam", "combiner"):
        metrics = Metrics(stage, "one")
        metrics.set("feedmill_ready", 1)
        metrics.observe("feedmill_loop_seconds", 1.0)
        texts.append(metrics.text())
    families = list(text_string_to_metric_families(merge(texts)))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    ready = next(family for family in families if family.name == "feedmill_ready")
    assert {s.labels["stage"] for s in ready.samples} == {"spam", "combiner"}
    alone = sum(len(f.samples) for text in texts for f in text_string_to_metric_families(text))
    assert sum(len(family.samples) for family in families) == alone


@pytest.mark.parametrize("labels", [{}, {"queue": "posts"}, {"topic": "posts", "more": "x"}])
def test_names_and_labels_are_those_of_the_list(labels: Any) -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics("spam", "one").add("feedmill_events_total", **labels)
    with pytest.raises(KeyError, match="feedmill_surprise_total"):
        Metrics("spam", "one").add("feedmill_surprise_total", **labels)


def test_the_list_follows_prometheus_conventions() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert re.fullmatch(r"feedmill_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        if metric.kind == "histogram":
            assert metric.name.endswith(f"_{metric.unit}")
        assert metric.meaning.endswith(".")
        assert metric.when_it_rises.endswith(".")


BOUNDS = (0.001, 0.01, 0.5, 2.0)
VALUES = st.lists(st.floats(0, 5) | st.sampled_from(BOUNDS), max_size=40)


def lines(registry: prometheus_client.CollectorRegistry) -> list[str]:
    """The buckets and counts, as Prometheus reads them."""
    text = prometheus_client.generate_latest(registry).decode()
    return [line for line in text.splitlines() if "_bucket" in line or "_count" in line]


@given(VALUES)
def test_it_counts_as_prometheus_does(values: list[float]) -> None:
    theirs = prometheus_client.CollectorRegistry()
    oracle = prometheus_client.Histogram("h", "d", ["l"], registry=theirs, buckets=BOUNDS)
    for value in values:
        oracle.labels(l="x").observe(value)
    ours = prometheus_client.CollectorRegistry()
    family = HistogramFamily("h", "d", ["l"], BOUNDS)
    ours.register(family)
    for value in values:
        family.labels(l="x").observe(value)
    if values:
        assert lines(ours) == lines(theirs)
