"""The legs of records through a worker, and what lies between two scrapes of them."""

import bisect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from builders.records import StoredRecord, record_batch
from feedmill.streams.kafka.batches import RecordBatch
from feedmill.streams.observe import legs
from feedmill.streams.observe.legs import (
    MOST_PENDING,
    Legs,
    PartitionLag,
    PendingArrivals,
    RecentLegs,
    Scrape,
)
from feedmill.streams.observe.metrics import Distribution, Metrics


class Clock:
    """Both clocks of a host: the time of day is `wall_s`."""

    def __init__(self) -> None:
        self.wall_s = 1000.0

    def time(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.wall_s - 900.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(legs, "time", clock)
    yield clock


def posts(*timestamps_ms: int) -> RecordBatch:
    records = [StoredRecord(i, at_ms) for i, at_ms in enumerate(timestamps_ms)]
    return record_batch("posts", records)


def means(metrics: Metrics) -> dict[tuple[str, str], tuple[float, float]]:
    """By topic and leg how many observations there were, and their mean in milliseconds."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for family in text_string_to_metric_families(metrics.text()):
        for sample in family.samples:
            if sample.name in ("feedmill_leg_seconds_count", "feedmill_leg_seconds_sum"):
                at = (sample.labels["topic"], sample.labels["leg"])
                found.setdefault(at, {})[sample.name[-3:]] = sample.value
    return {
        at: (values["unt"], round(values["sum"] / values["unt"] * 1000, 3))
        for at, values in found.items()
    }


def test_each_leg_is_measured_and_they_add_up(clock: Clock) -> None:
    metrics = Metrics("worker", "one")
    pending = PendingArrivals()
    arrivals = Legs(metrics).fetched([posts(999_990, 999_998), posts(999_994)], [])
    clock.wall_s += 0.020
    pending.add(arrivals)
    clock.wall_s += 0.003
    (taken,) = pending.take()
    clock.wall_s += 0.050
    taken.written(clock.monotonic() - 0.040)
    assert means(metrics) == {
        ("posts", "append_to_fetch"): (3, 6.0),
        ("posts", "fetch_to_judged"): (3, 20.0),
        ("posts", "judged_to_ranked"): (3, 3.0),
        ("posts", "ranked_to_redis"): (3, 10.0),
        ("posts", "append_to_redis"): (3, 39.0),
    }
    assert pending.take() == ()


def test_signals_of_others_come_judged_and_are_one_topic(clock: Clock) -> None:
    metrics = Metrics("worker", "one")
    pending, legs = PendingArrivals(), Legs(metrics)
    batches = [
        record_batch(f"signals.{name}", [StoredRecord(0, at_ms)])
        for name, at_ms in (("spam", 999_990), ("quality", 999_998))
    ]
    pending.add(legs.signals_fetched(batches))
    clock.wall_s += 0.004
    (taken,) = pending.take()
    clock.wall_s += 0.010
    taken.written(clock.monotonic())
    assert means(metrics) == {
        ("signals", "append_to_fetch"): (2, 6.0),
        ("signals", "judged_to_ranked"): (2, 4.0),
        ("signals", "ranked_to_redis"): (2, 10.0),
        ("signals", "append_to_redis"): (2, 20.0),
    }
    assert legs.signals_fetched([]) == ()


def test_producers_timestamps_and_topics_have_legs_of_their_own(clock: Clock) -> None:
    metrics = Metrics("worker", "one")
    ahead = record_batch("engagements", [StoredRecord(0, 1_000_500)])
    one, _ = Legs(metrics).fetched([posts(999_900)._replace(is_append_time=False)], [ahead])
    one.written(clock.monotonic())
    legs = means(metrics)
    assert legs["posts", "create_to_fetch"] == (1, 100.0)
    assert ("posts", "create_to_redis") in legs
    assert not any(topic == "posts" and leg.startswith("append") for topic, leg in legs)
    # A broker ahead of this host is no negative delay.
    assert legs["engagements", "append_to_fetch"] == (1, 0.0)


def test_without_a_combiner_the_worker_says_that_records_are_judged(clock: Clock) -> None:
    metrics = Metrics("worker", "one")
    (one,) = Legs(metrics).fetched([posts(1_000_000)])
    clock.wall_s += 0.5
    one.judged()
    clock.wall_s += 0.5
    one.judged()
    assert means(metrics)["posts", "fetch_to_judged"] == (1, 500.0)


def test_what_waits_for_redis_is_bounded(clock: Clock) -> None:
    metrics = Metrics("worker", "one")
    pending = PendingArrivals()
    for _ in range(MOST_PENDING + 5):
        pending.add(Legs(metrics).fetched([posts(1_000_000)]))
    assert len(pending.take()) == MOST_PENDING
    pending.add(Legs(metrics).fetched([posts(1_000_000)]))
    pending.drop()
    assert pending.take() == ()
    assert means(metrics)["posts", "fetch_to_judged"][0] == MOST_PENDING + 6


# --- the last minute --------------------------------------------------------------------------


def test_heartbeats_tell_of_the_last_minute_and_of_legs_with_records(clock: Clock) -> None:
    found = Legs(Metrics("worker", "one"))
    recent = RecentLegs(found)
    assert recent.times() == {}
    clock.wall_s += 10
    found.histogram("posts", "fetch_to_judged").observe(0.001, 100)
    found.histogram("engagements", "fetch_to_judged")
    times = recent.times()
    assert times.keys() == {"posts"}
    (seen,) = times["posts"].values()
    assert 0.75 <= seen.p50_ms <= 1.0 < seen.p99_ms * 1.01
    assert seen.per_second == 10.0
    for _ in range(12):
        clock.wall_s += 5
        times = recent.times()
    assert times == {}


def test_a_quantile_above_all_bounds_is_the_highest_bound(clock: Clock) -> None:
    found = Legs(Metrics("worker", "one"))
    recent = RecentLegs(found)
    found.histogram("posts", "append_to_fetch").observe(3600.0)
    seen = recent.times()["posts"]["append_to_fetch"]
    assert seen.p50_ms == seen.p99_ms == 12_288


def test_a_look_between_two_heartbeats_shortens_nothing(clock: Clock) -> None:
    found = Legs(Metrics("worker", "one"))
    recent = RecentLegs(found)
    found.histogram("posts", "append_to_fetch").observe(0.001, 60)
    for _ in range(100):
        clock.wall_s += 0.3
        assert "posts" in recent.times()


FETCH = ("append_to_fetch", "posts")


def observed(metrics: Metrics, *seconds: float) -> None:
    for value in seconds:
        metrics.observe("feedmill_leg_seconds", value, topic="posts", leg="append_to_fetch")


@given(
    st.lists(st.floats(0.0, 8.0), min_size=1, max_size=60),
    st.lists(st.floats(0.0, 8.0), max_size=60),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_lies_in_the_bucket_of_the_observation(
    values: list[float], before: list[float], q: float
) -> None:
    metrics = Metrics("worker", "one")
    observed(metrics, *before)
    earlier = Scrape({"a": metrics.text()})
    observed(metrics, *values)
    found = Scrape({"a": metrics.text()}).since(earlier)[FETCH]
    assert found.count == len(values)
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    value = found.quantile(q)
    assert value is not None
    bounds = (0.0, *found.bounds)
    high = bisect.bisect_left(found.bounds, exact) + 1
    assert bounds[high - 1] <= value <= bounds[high]


def test_within_a_bucket_observations_count_as_spread_evenly() -> None:
    found = Distribution((0.1, 0.2, math.inf), (10, 10, 0))
    assert found.quantile(0.25) == pytest.approx(0.05)
    assert found.quantile(0.75) == pytest.approx(0.15)
    assert Distribution((0.1, math.inf), (1, 9)).quantile(0.5) == math.inf
    assert Distribution((0.1, math.inf), (0, 0)).quantile(0.5) is None


def text_at(metrics: Metrics, at_s: float) -> str:
    metrics.set("feedmill_metrics_timestamp_seconds", at_s)
    return metrics.text()


def test_a_rate_is_about_the_time_between_what_was_read() -> None:
    one, two = Metrics("worker", "one"), Metrics("worker", "two")
    for worker in (one, two):
        observed(worker, 0.01)
    earlier = Scrape({"a": text_at(one, 1000.0), "b": text_at(two, 1000.0)})
    observed(one, *[0.01] * 30)
    observed(two, *[0.01] * 30)
    later = Scrape({"a": text_at(one, 1002.0), "b": text_at(two, 1003.0)})
    found = later.since(earlier)[FETCH]
    assert found.count == 60
    assert found.per_second == pytest.approx(30 / 2 + 30 / 3)
    # A supervisor may show the same text twice.
    assert later.since(later)[FETCH].per_second == 0


def test_a_restarted_worker_begins_anew() -> None:
    worker = Metrics("worker", "one")
    observed(worker, 0.010, 0.010, 0.010)
    earlier = Scrape({"a": worker.text()})
    restarted = Metrics("worker", "one")
    observed(restarted, 0.2)
    found = Scrape({"a": restarted.text()}).since(earlier)[FETCH]
    assert found.count == 1
    assert found.quantile(1.0) == pytest.approx(0.256, rel=0.5)


def test_lag_is_summed_by_group_and_topic() -> None:
    one, two = Metrics("worker", "one"), Metrics("worker", "two")
    one.replace("feedmill_partition_lag", {("w", "posts", "0"): 5, ("w", "posts", "1"): 0})
    two.replace("feedmill_partition_lag", {("w", "posts", "2"): 9, ("v", "engagements", "0"): 1})
    assert Scrape({"a": one.text(), "b": two.text()}).lags == [
        PartitionLag("v", "engagements", 1, 0, 1),
        PartitionLag("w", "posts", 14, 2, 9),
    ]


def test_what_is_no_worker_is_noticed() -> None:
    assert not Scrape({"a": "# TYPE other gauge\nother 1\n"}).is_of_feedmill
    with pytest.raises(ValueError, match=r"."):
        Scrape({"a": "<html>a page</html>"})
