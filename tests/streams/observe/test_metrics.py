"""Metrics of one process and of several."""

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from feedmill.streams.observe.metric_list import METRICS
from feedmill.streams.observe.metrics import Metrics


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


def test_each_kind_of_metric_is_counted() -> None:
    metrics = Metrics("spam", "one")
    metrics.add("feedmill_events_total", 3, topic="posts")
    metrics.add("feedmill_events_total", topic="posts")
    metrics.add("feedmill_events_total", topic="config")
    metrics.set("feedmill_lag", 7)
    metrics.set("feedmill_lag", 5)
    metrics.observe("feedmill_loop_seconds", 0.02)
    metrics.observe("feedmill_loop_seconds", 3.0)
    found = samples(metrics.text())
    assert found["feedmill_events_total", "topic=posts"] == 4
    assert found["feedmill_events_total", "topic=config"] == 1
    assert found["feedmill_lag", ""] == 5
    assert found["feedmill_loop_seconds_count", ""] == 2
    assert found["feedmill_loop_seconds_sum", ""] == pytest.approx(3.02)
    assert found["feedmill_loop_seconds_bucket", "le=0.016"] == 0
    assert found["feedmill_loop_seconds_bucket", "le=0.02"] == 1


@pytest.mark.parametrize("name", ["feedmill_loop_seconds", "feedmill_loop_cpu_seconds"])
def test_a_bucket_ends_where_a_step_must(name: str) -> None:
    metrics = Metrics("worker", "one")
    metrics.observe(name, 0.0199)
    metrics.observe(name, 0.0201)
    found = samples(metrics.text())
    assert found[f"{name}_bucket", "le=0.02"] == 1
    assert found[f"{name}_bucket", "le=0.024"] == 2


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


def test_records_have_buckets_of_their_own() -> None:
    metrics = Metrics("worker", "one")
    metrics.observe("feedmill_batch_records", 7, topic="posts")
    found = samples(metrics.text())
    assert found["feedmill_batch_records_bucket", "le=5.0,topic=posts"] == 0
    assert found["feedmill_batch_records_bucket", "le=10.0,topic=posts"] == 1


def test_every_sample_names_stage_and_instance() -> None:
    metrics = Metrics("spam", "one")
    metrics.set("feedmill_ready", 1)
    (family,) = text_string_to_metric_families(metrics.text())
    assert [s.labels for s in family.samples] == [{"stage": "spam", "instance": "one"}]
    assert family.documentation.endswith("Unit: 0 or 1.")


def test_the_stages_of_one_process_share_a_text() -> None:
    metrics = Metrics("spam", "one")
    other = metrics.of_stage("nsfw")
    metrics.set("feedmill_lag", 1)
    other.set("feedmill_lag", 2)
    (family,) = text_string_to_metric_families(metrics.text())
    assert {s.labels["stage"]: s.value for s in family.samples} == {"spam": 1, "nsfw": 2}
    assert {s.labels["instance"] for s in family.samples} == {"one"}
    assert other.text() == metrics.text()


def test_a_metric_without_a_value_does_not_appear() -> None:
    assert Metrics("spam", "one").text() == ""


def test_a_metric_that_is_not_listed_cannot_be_counted() -> None:
    with pytest.raises(KeyError, match="feedmill_surprise_total"):
        Metrics("spam", "one").add("feedmill_surprise_total")


@pytest.mark.parametrize("labels", [{}, {"queue": "posts"}, {"topic": "posts", "more": "x"}])
def test_labels_are_those_of_the_list(labels: Any) -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics("spam", "one").add("feedmill_events_total", **labels)


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
