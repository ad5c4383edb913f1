"""What a worker that stands still costs the others, and a storm of engagements a hide.

    python benchmarks/bench_stopped.py [--only judge ranker load storm] [--posts 100000]

`judge`: two judges and two rankers; one judge is stopped within its session.  Hides and settings
before and meanwhile, and when all feeds are stale.  `ranker`: one of two is stopped under 50 posts
a second, until another has its shards, and continued.  `load`: one of two whole workers is stopped
for 8 and for 60 s while more posts come than they take.  `storm`: hides in turns: quiet; while as
many engagements go to other topics, which shows what they cost the machine without a worker; while
more come than the worker takes; and while these wait and nobody sends more.
The live posts are written as records, see `live_posts.py`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import msgspec
import redis
from bench_settings import Flipper, WeightsReader
from confluent_kafka import Producer
from live_posts import LivePosts
from load import Load, Watcher
from machine import describe
from subjects import PARTITIONS, Subject, own_servers, start

from feedmill.streams.settings.environment import Environment, environment_variables

JUDGE, RANKER = ("--without", "combiner"), ("combiner",)
SESSION_S = 10.0
READY_WITHIN_S = 240.0
HIDES, FLIPS = 20, 30
TURNS, STORM_RATE = 4, 30_000
# More than two workers take on two cores.
RATE = 1_500
STALE_AFTER_S = 30.0


class Reader:
    """Hides posts, and reads what Redis shows."""

    def __init__(self, environment: Environment) -> None:
        self._producer = Producer({"bootstrap.servers": environment.kafka, "linger.ms": 0})
        self._topic = environment.topic("overrides")
        self._prefix = environment.redis_prefix
        self._client = redis.Redis.from_url(environment.redis, decode_responses=True)

    def hide(self, post_id: str) -> float:
        """Hide a post; return how many milliseconds later no feed of its community has it."""
        at_ms = time.time_ns() // 1_000_000
        verdict = {"verdict": "hide", "by": "bench", "reason": "bench", "at_ms": at_ms}
        sent = time.perf_counter()
        key = f"post:{post_id}|*".encode()
        self._producer.produce(self._topic, key=key, value=msgspec.json.encode(verdict))
        self._producer.poll(0)
        wait(lambda: self._is_hidden(post_id), "a hide is visible", 60, every=0.002)
        return (time.perf_counter() - sent) * 1000

    def _is_hidden(self, post_id: str) -> bool:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(f"{self._prefix}signals:{post_id}", "decision")
            pipe.zscore(f"{self._prefix}feed:{{global}}", post_id)
            pipe.zscore(f"{self._prefix}feed:{{lang:en}}", post_id)
            decision, *scores = pipe.execute()
        return decision == "hide" and scores == [None, None]

    def shown(self, count: int) -> list[str]:
        """Return so many posts that `global` shows, spread over it."""
        found: Any = self._client.zrange(f"{self._prefix}feed:{{global}}", 0, -1)
        if len(found) < count:
            raise SystemExit(f"only {len(found)} posts in global")
        return list(islice(found[:: len(found) // count], count))

    def fresh_until_ms(self) -> int:
        """Return until when the last of all feeds is fresh."""
        names: Any = self._client.zrange(f"{self._prefix}feeds", 0, -1)
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(f"{self._prefix}feed:{{{name}}}:info", "fresh_until_ms")
            return max(int(at or 0) for at in pipe.execute())

    def undecided(self, post_ids: Sequence[str]) -> list[str]:
        """Return the posts that Redis does not have, or has as held for a verdict."""
        missing = []
        for begin in range(0, len(post_ids), 2_000):
            part = post_ids[begin : begin + 2_000]
            with self._client.pipeline(transaction=False) as pipe:
                for post_id in part:
                    pipe.hmget(f"{self._prefix}signals:{post_id}", "post", "decision")
                for post_id, (post, decision) in zip(part, pipe.execute(), strict=True):
                    if post is None or decision == "hold":
                        missing.append(post_id)
        return missing


def wait(is_over: Callable[[], bool], what: str, seconds: float, every: float = 0.2) -> float:
    """Wait until something is so; return for how many seconds."""
    since = time.perf_counter()
    while not is_over():
        if time.perf_counter() - since > seconds:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return time.perf_counter() - since


@contextmanager
def workers(
    environment: Environment, *roles: Sequence[str], session_s: float = SESSION_S
) -> Iterator[list[Subject]]:
    """Start workers, one after another, and end them with the block."""
    session = {"FEEDMILL_SESSION_TIMEOUT_MS": f"{session_s * 1000:.0f}"}
    started: list[Subject] = []
    try:
        for number, role in enumerate(roles):
            named = {"FEEDMILL_INSTANCE": f"{(role or ['worker'])[-1]}-{number}", **session}
            started.append(start("worker", environment, arguments=role, variables=named))
        for one in started:
            one.wait_ready(READY_WITHIN_S)
        yield started
    finally:
        for one in started:
            one.process.send_signal(signal.SIGCONT)
        for one in started:
            one.stop()


@contextmanager
def load_beside(environment: Environment, posts: int, engagements: int) -> Iterator[None]:
    """Send posts and engagements a second from another process."""
    script = Path(__file__).parent / "load.py"
    rates = ["--posts", str(posts), "--engagements", str(engagements), "--seconds", "600"]
    process = subprocess.Popen(
        [sys.executable, str(script), *rates],
        env={**os.environ, **environment_variables(environment)},
        start_new_session=True,  # see `subjects.start`
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def judge(posts: int) -> None:
    """Stop one of two judges for less than its session."""
    with own_servers() as environment:
        LivePosts(environment, posts, PARTITIONS).write()
        with workers(environment, JUDGE, JUDGE, RANKER, RANKER, session_s=90) as subjects:
            reader, settings = Reader(environment), WeightsReader(environment)
            flipper = Flipper(environment, settings)
            with load_beside(environment, 20, 80):
                flipper.start()
                time.sleep(5)
                hides = [reader.hide(one) for one in reader.shown(HIDES)]
                flips = [flipper.flip(high=i % 2 == 0) for i in range(FLIPS)]
                subjects[1].process.send_signal(signal.SIGSTOP)
                stopped_ms = time.time_ns() // 1_000_000
                stopped_hides = [reader.hide(one) for one in reader.shown(HIDES)]
                stopped_flips = [flipper.flip(high=i % 2 == 0) for i in range(FLIPS)]
                left_s = STALE_AFTER_S - (time.time_ns() // 1_000_000 - stopped_ms) / 1000
                time.sleep(max(0.0, left_s))
                stale_s = (reader.fresh_until_ms() - stopped_ms) / 1000
    line("a hide, both judges", hides)
    line("a hide, one of them stopped", stopped_hides, "max 1,000")
    line("a setting, both judges", flips)
    ratio = median(stopped_flips) / median(flips)
    line("a setting, one of them stopped", stopped_flips, f"{ratio:.2f} times, at most 1.5")
    print(f"all feeds are stale after {stale_s:.1f} s, at most {STALE_AFTER_S:.0f}", flush=True)


def ranker(posts: int) -> None:
    """Stop one of two rankers until the other has its shards, and continue it."""
    with own_servers() as environment:
        LivePosts(environment, posts, PARTITIONS).write()
        with workers(environment, JUDGE, RANKER, RANKER) as subjects:
            watcher = Watcher(environment)
            load = Load(environment, watcher)
            load.draw(5_000)
            load.posts(50, 10)
            calm = watcher.milliseconds()
            stopped = subjects[2]
            stopped.process.send_signal(signal.SIGSTOP)
            since = time.perf_counter()
            load.posts(50, 2 * SESSION_S)
            within = [at + delay for at, delay in watcher.seen if since <= at < since + SESSION_S]
            taken_s = max(within) - since
            stopped.process.send_signal(signal.SIGCONT)
            continued = time.perf_counter()
            load.posts(50, 5, drain=False)
            wait(stopped.is_ready, "the continued ranker is ready", READY_WITHIN_S)
            load.posts(50, 10)
            after = watcher.milliseconds(continued)
            refused = stopped.samples().value("feedmill_redis_refused_total")
            shards = [one.samples().value("feedmill_shards") for one in subjects]
    line(f"a post, two rankers, {posts:,} live posts", calm)
    print(f"another has the shards {taken_s:.1f} s after the stop, at most {SESSION_S + 10:.0f}")
    line("a post, from when it goes on", after)
    print(f"it was refused {refused:.0f} writes; shards now {shards}, every post was shown")
    if sum(shards) != 64:
        raise SystemExit("some shards are ranked by nobody or by two")


def load(_: int) -> None:
    """Stop one of two whole workers for 8 and for 60 s while more comes than they take."""
    for stop_s in (8.0, 60.0):
        with own_servers() as environment, workers(environment, (), ()) as subjects:
            _stop_under_load(environment, subjects, stop_s)


def _stop_under_load(environment: Environment, subjects: Sequence[Subject], stop_s: float) -> None:
    sender, reader = Load(environment), Reader(environment)
    sent = sender.posts(RATE, 6)
    subjects[1].process.send_signal(signal.SIGSTOP)
    sent += sender.posts(RATE, stop_s)
    subjects[1].process.send_signal(signal.SIGCONT)
    sent += sender.posts(RATE, 6)
    behind = sum(one.samples().value("feedmill_lag") for one in subjects)
    left = [f"p{number}" for number in range(sent)]

    def all_decided() -> bool:
        nonlocal left
        left = reader.undecided(left)
        return not left

    took_s = wait(all_decided, "all posts are decided", 240, every=1.0)
    dropped = sum(one.samples().value("feedmill_signals_dropped_total") for one in subjects)
    print(
        f"stopped for {stop_s:.0f} of {stop_s + 12:.0f} s at {RATE:,} posts a second: lag at the"
        f" end {behind:,.0f}; all {sent:,} decided {took_s:.0f} s later; {dropped:.0f} signals"
        " dropped",
        flush=True,
    )
    if dropped:
        raise SystemExit("signals were dropped")


def storm(posts: int) -> None:
    """Hide posts while more engagements come than a worker takes."""
    quiet: list[list[float]] = []
    elsewhere: list[list[float]] = []
    coming: list[list[float]] = []
    waiting: list[list[float]] = []
    lags: list[float] = []
    whole_us: list[float] = []
    with own_servers() as environment, own_servers() as other:
        LivePosts(environment, posts, PARTITIONS).write()
        with workers(environment, ()) as (subject,):
            reader = Reader(environment)
            for _ in range(TURNS):
                with load_beside(environment, 20, 80):
                    quiet.append(hides_of(reader, 4))
                    with load_beside(other, 20, STORM_RATE):
                        elsewhere.append(hides_of(reader, 8))
                with load_beside(environment, 20, STORM_RATE):
                    coming.append(hides_of(reader, 8))
                    whole_us.append(microseconds(subject))
                lags.append(lag_of(subject))
                waiting.append(hides_of(reader, 1))
                wait(lambda: lag_of(subject) < 100, "all is taken", READY_WITHIN_S)
        with workers(environment, JUDGE) as (subject,), load_beside(environment, 20, STORM_RATE):
            time.sleep(3)
            judge_us = microseconds(subject)
    for what, turns in (
        ("100 events a second", quiet),
        (f"{STORM_RATE:,} a second go elsewhere", elsewhere),
        (f"{STORM_RATE:,} a second come", coming),
        (f"{min(lags):,.0f} or more wait", waiting),
    ):
        ratios = [median(one) / median(base) for one, base in zip(turns, quiet, strict=True)]
        bar = f"{median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}), at most 3"
        line(f"a hide, {what}", [ms for one in turns for ms in one], bar)
    us = f"{median(whole_us):.0f} µs, {judge_us:.0f} in a judge alone"
    print(f"processor time of an engagement: {us}")


def lag_of(subject: Subject) -> float:
    """Return how many records it has not read yet."""
    return subject.samples().value("feedmill_lag")


def hides_of(reader: Reader, after_s: float) -> list[float]:
    """Hide posts at times that no cycle of the worker decides; return the milliseconds of each."""
    time.sleep(after_s)
    drawn, found = Random(1), []
    for post_id in reader.shown(HIDES):
        time.sleep(drawn.uniform(0.02, 0.12))
        found.append(reader.hide(post_id))
    return found


def microseconds(subject: Subject) -> float:
    """Return the processor time of an engagement that it takes within some seconds."""

    def seen() -> tuple[float, float]:
        counted = subject.samples().value("feedmill_events_total", topic="engagements")
        return counted, subject.cpu_seconds()

    count, cpu_s = seen()
    time.sleep(6)
    count_after, cpu_s_after = seen()
    return (cpu_s_after - cpu_s) / (count_after - count) * 1e6


def line(what: str, ms: Sequence[float], bar: str = "") -> None:
    """Print median and highest."""
    figures = f"p50 {median(ms):>7.1f} ms, max {max(ms):>7.1f} ms, {len(ms):>5} of them"
    print(f"{what:<52}{figures}{'  ' + bar if bar else ''}", flush=True)


PARTS: dict[str, Callable[[int], None]] = {
    "judge": judge,
    "ranker": ranker,
    "load": load,
    "storm": storm,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--posts", type=int, default=100_000)
    options = parser.parse_args()
    print(describe(), flush=True)
    for name in options.only:
        print(f"-- {name}", flush=True)
        PARTS[name](options.posts)


if __name__ == "__main__":
    main()
