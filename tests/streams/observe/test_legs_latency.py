"""What lies between two scrapes, against the values that were observed."""

import bisect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.observe.legs import PartitionLag, Scrape
from feedmill.streams.observe.metrics import Distribution, Metrics

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
