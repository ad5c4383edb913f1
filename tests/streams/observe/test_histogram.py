"""Histograms against Prometheus' own client, over drawn values."""

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.observe.histogram import HistogramFamily

BOUNDS = (0.001, 0.01, 0.5, 2.0)
VALUES = st.lists(st.floats(0, 5) | st.sampled_from(BOUNDS), max_size=40)


def lines(registry: prometheus_client.CollectorRegistry) -> list[str]:
    """The buckets and counts, as Prometheus reads them."""
    text = prometheus_client.generate_latest(registry).decode()
    return [line for line in text.splitlines() if "_bucket" in line or "_count" in line]


@given(VALUES, VALUES)
def test_it_counts_as_prometheus_does(some: list[float], many: list[float]) -> None:
    theirs = prometheus_client.CollectorRegistry()
    oracle = prometheus_client.Histogram("h", "d", ["l"], registry=theirs, buckets=BOUNDS)
    for value in some + many:
        oracle.labels(l="x").observe(value)
    ours = prometheus_client.CollectorRegistry()
    family = HistogramFamily("h", "d", ["l"], BOUNDS)
    ours.register(family)
    for value in some:
        family.labels(l="x").observe(value)
    if many or some:
        family.labels(l="x").observe_many(many)
        assert lines(ours) == lines(theirs)
