"""From `produce` to visible in Redis: the worker beside the bare loop, in turns, in one run.

    python benchmarks/bench_latency.py [--seconds 10] [--rounds 5] [--rates 100,1000]

A post is visible when the feed of its community has it; an engagement when the score of its post
there has changed.  Every event that is watched is followed to the end: one that never shows fails
the run.  Processor time is that of all processes of the engine, by /proc.  Kafka, Redis, load and
watcher run on the same machine.  Printed is the median of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import redis
from bare_loop import READY
from confluent_kafka import Producer
from engine import own_environment
from machine import describe
from sentences import sentences

from feedmill.deploy.local.ports import free_port
from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement
from feedmill.events.post import Post
from feedmill.streams.kafka.topics import create
from feedmill.streams.settings.environment import Environment, environment_variables

PARTITIONS = 4
COMMUNITIES = 100
WORDS = 29
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measurement:
    """One kind of event at one rate."""

    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of all of the engine's processes, an event


@dataclass
class Pending:
    """An event that is not visible yet."""

    feed: str
    post_id: str
    sent_at: float
    score_before: float | None


class Watcher:
    """Looks in Redis for everything that was sent and is not visible yet."""

    def __init__(self, environment: Environment) -> None:
        self._client = redis.Redis.from_url(environment.redis)
        self._prefix = environment.redis_prefix
        self.pending: dict[str, Pending] = {}
        self.seconds: list[float] = []

    def feed(self, number: int) -> str:
        """The key of the feed that the post of this number is in."""
        return f"{self._prefix}feed:{{community:c{number % COMMUNITIES}}}"

    def score(self, number: int, post_id: str) -> float | None:
        """The score that a reader sees now."""
        score: float | None = self._client.zscore(self.feed(number), post_id)
        return score

    def look(self) -> None:
        """One round trip for all that is pending."""
        items = list(self.pending.values())
        if not items:
            return
        pipeline = self._client.pipeline(transaction=False)
        for item in items:
            pipeline.zscore(item.feed, item.post_id)
        scores = pipeline.execute()
        now = time.perf_counter()
        for item, score in zip(items, scores, strict=True):
            if score is not None and score != item.score_before:
                self.seconds.append(now - item.sent_at)
                del self.pending[item.post_id]

    def drain(self, timeout_s: float) -> None:
        """Look until nothing is pending; ends the run where something never shows."""
        until = time.monotonic() + timeout_s
        while self.pending:
            self.look()
            if time.monotonic() > until:
                raise SystemExit(f"{len(self.pending)} events not visible after {timeout_s} s")
            time.sleep(0.001)


class Load:
    """Sends events at a steady rate and watches them."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._producer = Producer(
            {
                "bootstrap.servers": environment.kafka,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            }
        )
        self.watcher = Watcher(environment)
        self._texts = sentences(WORDS)
        self.sent = 0

    def posts(self, rate: float, seconds: float) -> int:
        """Send new posts; returns how many."""
        first = self.sent
        for _ in self._paced(rate, seconds):
            number, post_id = self.sent, f"p{self.sent}"
            post = Post(
                *(post_id, f"a{number}", time.time_ns() // 1_000_000, next(self._texts)),
                lang="en",
                communities=(f"c{number % COMMUNITIES}",),
            )
            pending = Pending(self.watcher.feed(number), post_id, time.perf_counter(), None)
            self.watcher.pending[post_id] = pending
            self._send("posts", post_id, encode(post))
            self.sent += 1
        self._producer.flush(10)
        self.watcher.drain(60)
        return self.sent - first

    def engagements(self, rate: float, seconds: float) -> int:
        """Send clicks on posts that are visible; each post is watched one click at a time."""
        count, scores = 0, self._scores()
        numbers = sorted(scores)
        for i in self._paced(rate, seconds):
            number = numbers[i % len(numbers)]
            post_id = f"p{number}"
            now_ms = time.time_ns() // 1_000_000
            event = Engagement(post_id, f"u{i}", "click", now_ms, f"e{self.sent}-{rate}-{i}")
            if i < len(numbers):
                feed, before = self.watcher.feed(number), scores[number]
                pending = Pending(feed, post_id, time.perf_counter(), before)
                self.watcher.pending[post_id] = pending
            self._send("engagements", post_id, encode(event))
            count += 1
        self._producer.flush(10)
        self.watcher.drain(60)
        return count

    def _scores(self) -> dict[int, float]:
        last = range(max(0, self.sent - 2000), self.sent)
        scores = {number: self.watcher.score(number, f"p{number}") for number in last}
        return {number: score for number, score in scores.items() if score is not None}

    def _send(self, topic: str, key: str, value: bytes) -> None:
        self._producer.produce(self._environment.topic(topic), key=key.encode(), value=value)
        self._producer.poll(0)

    def _paced(self, rate: float, seconds: float) -> Iterator[int]:
        start = time.perf_counter()
        for i in range(int(rate * seconds)):
            due = start + i / rate
            while (ahead := due - time.perf_counter()) > 0:
                self.watcher.look()
                time.sleep(min(max(ahead, 0.0), 0.0005))
            yield i


def cpu_seconds(root: int) -> float:
    """Processor time of a process and all below it."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents.setdefault(int(fields[1]), []).append(pid)
            used[pid] = (int(fields[11]) + int(fields[12])) / TICKS
    total, todo = 0.0, [root]
    while todo:
        pid = todo.pop()
        total += used.get(pid, 0.0)
        todo += parents.get(pid, [])
    return total


@contextlib.contextmanager
def running(subject: str, environment: Environment) -> Iterator[int]:
    """Start an engine and wait until it is ready; yields its process id."""
    create(environment.kafka, environment.topic_prefix, PARTITIONS, environment.signals.all)
    port = free_port(set())
    variables = {**os.environ, **environment_variables(environment), "FEEDMILL_PORT": str(port)}
    here = Path(__file__).parent
    arguments = {
        "bare": [str(here / "bare_loop.py")],
        "worker": ["-m", "feedmill.cli.main", "worker"],
    }
    command = [sys.executable, *arguments[subject]]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=log)
        try:
            if subject == "bare":
                assert process.stdout is not None
                assert process.stdout.readline().strip() == READY.encode()
            else:
                wait_ready(port, process)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def wait_ready(port: int, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    """Wait for `/readyz`."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the engine did not become ready")


def measure(
    subject: str, rates: list[float], seconds: float
) -> dict[tuple[str, float], Measurement]:
    """Run one engine through all kinds and rates."""
    environment = own_environment()
    found = {}
    with running(subject, environment) as pid:
        load = Load(environment)
        load.posts(100, 3)  # warm
        for kind, send in (("posts", load.posts), ("engagements", load.engagements)):
            for rate in rates:
                load.watcher.seconds.clear()
                before = cpu_seconds(pid)
                count = send(rate, seconds)
                cpu_ms = (cpu_seconds(pid) - before) * 1000 / count
                ms = np.array(load.watcher.seconds) * 1000
                p50, p99 = np.percentile(ms, [50, 99]).tolist()
                found[kind, rate] = Measurement(p50, p99, cpu_ms)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", default="100,1000")
    parser.add_argument("--subjects", default="bare,worker")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    subjects = options.subjects.split(",")
    print(describe())
    rounds: dict[str, list[dict[tuple[str, float], Measurement]]] = {s: [] for s in subjects}
    for _ in range(options.rounds):
        for subject in subjects:
            rounds[subject].append(measure(subject, rates, options.seconds))
    print(
        f"{'engine':<10}{'events':<13}{'rate/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms/event':>14}"
    )
    for kind, rate in rounds[subjects[0]][0]:
        for subject in subjects:
            all_of = [found[kind, rate] for found in rounds[subject]]
            p50, p99 = median(m.p50_ms for m in all_of), median(m.p99_ms for m in all_of)
            cpu = median(m.cpu_ms for m in all_of)
            print(f"{subject:<10}{kind:<13}{rate:>8.0f}{p50:>9.1f}{p99:>9.1f}{cpu:>14.2f}")


if __name__ == "__main__":
    main()
