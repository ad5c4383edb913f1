"""A start, a flush and a setting with many live posts: how soon every feed is back.

    python benchmarks/bench_restart.py [--posts 300000]

The posts are written as records, see `live_posts.py`.  Four things are timed:

start     the first start, Redis empty
restart   after a kill, Redis as it was; the instance has a name, so Kafka gives the partitions back
flush     FLUSHALL
setting   `feeds/community:*` with another size: every community's feed changes

Feeds are served when all of them are whole and under the worker's token; `signals:` are complete
when a sample of them are.  `loop ms` and `cpu ms` are the upper edges of the histograms' highest
buckets: no cycle of the loop took longer, and none took more processor time of its thread.
"""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import redis
from confluent_kafka import Producer
from live_posts import LivePosts
from machine import describe
from subjects import (
    LOOP_CPU_HISTOGRAM,
    NO_SAMPLES,
    PARTITIONS,
    Subject,
    own_servers,
    running,
    start,
)

from feedmill.streams.environment import Environment

# A look at 500 feeds takes some 20 ms.
LOOK_EVERY_S = 0.2
TOLD_EVERY_S = 10.0
WITHIN_S = 120.0
SETTLE_S = 2.0
SIZE, SMALLER = 500, 400
SAMPLED = 1000
INSTANCE = {"FEEDMILL_INSTANCE": "bench-restart"}


@dataclass(frozen=True)
class ShownFeed:
    """What a reader sees of one feed."""

    size: int
    owner: int
    config_offset: int


class RedisView:
    """Looks at all feeds and at a sample of the posts."""

    def __init__(self, environment: Environment, live: LivePosts) -> None:
        self.client = redis.Redis.from_url(environment.redis)
        self._prefix = environment.redis_prefix
        self.communities = live.communities
        names = (f"community:c{i}" for i in range(live.communities))
        self._feeds = ["global", "lang:en", *names]
        self._sample = live.post_ids[:: max(1, len(live.post_ids) // SAMPLED)]

    def feeds(self) -> dict[str, ShownFeed]:
        """Return every feed that exists whole: as many members as `:info` says."""
        pipeline = self.client.pipeline(transaction=False)
        for feed in self._feeds:
            key = f"{self._prefix}feed:{{{feed}}}"
            pipeline.zcard(key)
            pipeline.hmget(f"{key}:info", "size", "owner", "config_offset")
        answers = pipeline.execute()
        found = {}
        for feed, members, info in zip(self._feeds, answers[::2], answers[1::2], strict=True):
            if None not in info and members == int(info[0]):
                found[feed] = ShownFeed(members, int(info[1]), int(info[2]))
        return found

    def missing(self, size: int, owner: int) -> int:
        """Return how many feeds are not of this size, or not written by this owner or a later."""
        feeds = self.feeds().values()
        return len(self._feeds) - sum(f.size == size and f.owner >= owner for f in feeds)

    def owner(self) -> int:
        """Return the highest token of all feeds."""
        return max((state.owner for state in self.feeds().values()), default=0)

    def posts_missing(self, owner: int) -> int:
        """Return how many posts of the sample lack a field, or were written by a former owner."""
        names = ("spam", "nsfw", "misinformation", "quality", "engagement", "owner")
        pipeline = self.client.pipeline(transaction=False)
        for post_id in self._sample:
            pipeline.hmget(f"{self._prefix}signals:{post_id}", *names)
        answers = pipeline.execute()
        return sum(None in values or int(values[-1]) < owner for values in answers)


@dataclass(frozen=True)
class EventTimes:
    """What one event took; NaN where there is nothing to wait for."""

    name: str
    first_s: float
    feeds_s: float
    signals_s: float
    loop_ms: float
    cpu_ms: float
    expelled: int


class Stopwatch:
    """Times what follows one event; made when the event happens.

    `fresh` says that the worker was just started, so that its metrics begin at 0.
    """

    def __init__(self, name: str, view: RedisView, subject: Subject, *, fresh: bool) -> None:
        self._name, self._view, self._subject = name, view, subject
        self._before = NO_SAMPLES if fresh else subject.samples()
        self._since = time.perf_counter()

    def wait(self, what: str, is_done: Callable[[], bool]) -> float:
        """Wait for a condition; return after how many seconds it held."""
        tell_at = TOLD_EVERY_S
        while not is_done():
            seconds = self.seconds()
            if seconds > WITHIN_S:
                log = self._subject.log_text()[-1000:]
                raise SystemExit(f"{self._name}: {what} not after {WITHIN_S:.0f} s\n{log}")
            if seconds > tell_at:
                tell_at = seconds + TOLD_EVERY_S
                sizes = Counter(state.size for state in self._view.feeds().values())
                common = ", ".join(f"{n} of {size}" for size, n in sizes.most_common(3))
                print(f"  {self._name}: {what} not after {seconds:.0f} s; feeds: {common}")
            time.sleep(LOOK_EVERY_S)
        seconds = self.seconds()
        print(f"  {self._name}: {what} after {seconds:.1f} s", flush=True)
        return seconds

    def seconds(self) -> float:
        """Return how many seconds ago the event was."""
        return time.perf_counter() - self._since

    def wait_all(self, owner: int = 0) -> EventTimes:
        """Wait for all feeds, then for all signals, by this owner or a later one."""
        view = self._view

        def is_first_back() -> bool:
            return any(state.owner >= owner for state in view.feeds().values())

        first_s = self.wait("first feed", is_first_back)
        feeds_s = self.wait("all feeds", lambda: not view.missing(SIZE, owner))
        signals_s = self.wait("signals", lambda: not view.posts_missing(owner))
        return self.measurement(first_s, feeds_s, signals_s)

    def measurement(
        self, first_s: float, feeds_s: float, signals_s: float = math.nan
    ) -> EventTimes:
        """Return these times, and how long the loop was held meanwhile."""
        # Work that goes on after the last write belongs to the event.
        time.sleep(SETTLE_S)
        samples = self._subject.samples()
        loop_ms = samples.longest_loop_ms(self._before)
        cpu_ms = samples.longest_loop_ms(self._before, LOOP_CPU_HISTOGRAM)
        expelled = self._subject.log_text().count("expelled")
        return EventTimes(self._name, first_s, feeds_s, signals_s, loop_ms, cpu_ms, expelled)


def start_up(
    view: RedisView, environment: Environment, *, former: int = 0
) -> tuple[Subject, EventTimes]:
    """Start a worker; return it with the time it took to serve, under a token above a former."""
    subject = start("worker", environment, variables=INSTANCE)
    name = "restart" if former else "start"
    try:
        found = Stopwatch(name, view, subject, fresh=True).wait_all(former + 1)
        subject.wait_ready()
    except BaseException:
        subject.stop()
        raise
    return subject, found


def flush(view: RedisView, subject: Subject) -> EventTimes:
    """Empty Redis and wait until everything is back."""
    watch = Stopwatch("flush", view, subject, fresh=False)
    view.client.flushall()
    while not view.client.dbsize():
        time.sleep(0.01)
    seen_s = watch.seconds()
    return replace(watch.wait_all(), first_s=seen_s)


def change_size(environment: Environment, view: RedisView, subject: Subject) -> EventTimes:
    """Write the setting of all communities and wait until each feed shows it."""
    producer = Producer({"bootstrap.servers": environment.kafka, "linger.ms": 0})
    value = msgspec.json.encode({"value": {"size": SMALLER}})
    watch = Stopwatch("setting", view, subject, fresh=False)
    producer.produce(environment.topic("config"), key=b"feeds/community:*", value=value)
    producer.flush(10)

    def sizes() -> list[int]:
        return [s.size for name, s in view.feeds().items() if name.startswith("community:")]

    first_s = watch.wait("first feed", lambda: SMALLER in sizes())
    return watch.measurement(
        first_s, watch.wait("all feeds", lambda: sizes() == [SMALLER] * view.communities)
    )


def measure(posts: int) -> list[EventTimes]:
    """Run all; prints what a post takes in memory."""
    with own_servers() as environment:
        with running("worker", environment) as subject:
            time.sleep(SETTLE_S)
            empty = subject.resident_bytes()
        began = time.perf_counter()
        live = LivePosts(environment, posts, PARTITIONS)
        live.write()
        print(f"{live.records:,} records in {time.perf_counter() - began:.0f} s", flush=True)
        view = RedisView(environment, live)
        view.client.flushall()
        subject, started = start_up(view, environment)
        subject.stop(signal.SIGKILL)
        subject, restarted = start_up(view, environment, former=view.owner())
        try:
            a_post = (subject.resident_bytes() - empty) / posts
            in_redis = view.client.info("memory")["used_memory"] / posts
            print(f"bytes a live post: worker {a_post:.0f}, Redis {in_redis:.0f}", flush=True)
            flushed = flush(view, subject)
            changed = change_size(environment, view, subject)
        finally:
            subject.stop()
    return [started, restarted, flushed, changed]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=300_000)
    options = parser.parse_args()
    print(describe(), flush=True)
    found = measure(options.posts)
    columns = f"{'first s':>9}{'feeds s':>9}{'signals s':>11}{'loop ms <=':>12}{'cpu ms <=':>11}"
    print(f"{'event':<9}{columns}{'expelled':>10}")
    for times in found:
        signals_s = "" if math.isnan(times.signals_s) else f"{times.signals_s:.1f}"
        print(
            f"{times.name:<9}{times.first_s:>9.1f}{times.feeds_s:>9.1f}{signals_s:>11}"
            f"{times.loop_ms:>12.0f}{times.cpu_ms:>11.0f}{times.expelled:>10}"
        )


if __name__ == "__main__":
    main()
