"""Measures how long records take from Kafka to Redis, leg by leg: `feedmill_leg_seconds`.

    timestamp ─► fetched ─► judged ─► ranked ─► Redis

Signals of other workers come judged, so they have no second leg.  The records of a cycle are
measured together, as so many observations; only the first leg uses each record's timestamp.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from feedmill.events.instance import LegTimes
from feedmill.streams.kafka.batches import RecordBatch, columns_of
from feedmill.streams.observe.metrics import Distribution, Histogram, Metrics

# The name of all topics of signals together.
SIGNALS = "signals"
# So many arrivals are measured at most while Redis is away.
MOST_PENDING = 1_000
# Heartbeats have the times of the last minute.
_LOOKS, _LOOK_EVERY_S = 12, 5.0


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
