"""Weights to visible: a setting is flipped while events come, and every read is checked.

    python benchmarks/bench_settings.py [--flips 100] [--posts 20000] [--events 500] [--rounds 5]
    python benchmarks/bench_settings.py --against ../before/.venv/bin/python

With `--against` the worker of another checkout takes turns; printed last are the medians.
`global` holds 500 posts.  Its weights alternate between two rankings whose scores lie on either
side of 0, so that a read shows which weights each member's score is by.  A read is one MULTI of the
feed and its `:info`, as a frontend does it; one that is mixed, short or empty fails the run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import msgspec
import numpy as np
from bench_backlog import SignalReader
from confluent_kafka import Producer
from load import Load
from machine import Stolen, describe
from subjects import LOOP_CPU_HISTOGRAM, SubjectName, own_servers, running

from feedmill.streams.environment import Environment, environment_variables

# Scores below 0 by `quality` alone, above 0 by `engagement` at the highest weight; no decay.
LOW = {"quality": 0.5, "engagement": 0.0, "half_life_hours": None}
HIGH = {"quality": 0.0, "engagement": 1e6, "half_life_hours": None}
FEED, SIZE = "global", 500
READ_EVERY_S = 0.001
_END = "end-of-read"
_LAST_LINE = f"{_END}\r\n".encode()
BETWEEN_FLIPS_S = 0.05
WITHIN_S = 60.0
WARM_S = 3.0


class WeightsReader:
    """Reads the feed whole, checks each read, and says which weights it shows.

    It reads the socket itself: to parse 500 members, redis-py needs more time than a flip takes.
    """

    def __init__(self, environment: Environment) -> None:
        url = urlsplit(environment.redis)
        self._socket = socket.create_connection((url.hostname, url.port))
        key = f"{environment.redis_prefix}feed:{{{FEED}}}"
        commands = (
            ("MULTI",),
            ("ZREVRANGE", key, "0", "-1", "WITHSCORES"),
            ("HMGET", f"{key}:info", "weights", "size"),
            ("EXEC",),
            ("ECHO", _END),
        )
        self._request = b"".join(_encode(command) for command in commands)
        self.reads = 0

    def shows_high(self) -> bool:
        """Read once; return whether the weights are `HIGH`."""
        scores, weights, size = self.read()
        high = bool(msgspec.json.decode(weights)["engagement"] > 0)
        self.reads += 1
        if len(scores) != SIZE or size != SIZE:
            raise SystemExit(f"a short read: {len(scores)} members, `size` {size}")
        if high != (scores[-1] > 0) or high != (scores[0] > 0):
            raise SystemExit(f"a mixed read: {scores[0]:.1f} to {scores[-1]:.1f} by {weights!r}")
        return high

    def read(self) -> tuple[list[float], bytes, int]:
        """Return the scores, highest first, the weights, and the size that `:info` has."""
        self._socket.sendall(self._request)
        answer = b""
        while not answer.endswith(_LAST_LINE):
            answer += self._socket.recv(1 << 20)
        # OK, QUEUED twice, the answers of EXEC; of each value its length, then the value.
        lines = answer.split(b"\r\n")[4:]
        members = int(lines[0][1:]) // 2
        scores = [float(score) for score in lines[4 : 1 + 4 * members : 4]]
        weights, size = lines[1 + 4 * members :][2:5:2]
        return scores, weights, int(size)


def _encode(command: Sequence[str]) -> bytes:
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


class Flipper:
    """Writes the two weights in turns."""

    def __init__(self, environment: Environment, reader: WeightsReader) -> None:
        self._producer = Producer({"bootstrap.servers": environment.kafka, "linger.ms": 0})
        self._topic = environment.topic("config")
        self._reader = reader

    def flip(self, *, high: bool) -> float:
        """Write one; return how many milliseconds later a read showed it."""
        value = msgspec.json.encode({"value": HIGH if high else LOW})
        sent = time.perf_counter()
        self._producer.produce(self._topic, key=f"weights/{FEED}".encode(), value=value)
        self._producer.poll(0)
        self._wait(high, sent)
        ms = (time.perf_counter() - sent) * 1000
        # What comes afterwards must be whole too.
        while time.perf_counter() - sent < ms / 1000 + BETWEEN_FLIPS_S:
            if self._reader.shows_high() != high:
                raise SystemExit("the feed went back to the weights of before")
            time.sleep(READ_EVERY_S)
        self._producer.flush(10)
        return ms

    def start(self) -> None:
        """Write `LOW` and wait for it, before any read is checked."""
        value = msgspec.json.encode({"value": LOW})
        self._producer.produce(self._topic, key=f"weights/{FEED}".encode(), value=value)
        self._producer.flush(10)
        until = time.monotonic() + WITHIN_S
        while True:
            with contextlib.suppress(SystemExit):
                if not self._reader.shows_high():
                    return
            if time.monotonic() > until:
                raise SystemExit(f"no whole feed after {WITHIN_S:.0f} s")
            time.sleep(0.1)

    def _wait(self, high: bool, since: float) -> None:
        while self._reader.shows_high() != high:
            if time.perf_counter() - since > WITHIN_S:
                raise SystemExit(f"weights are not visible after {WITHIN_S:.0f} s")
            time.sleep(READ_EVERY_S)


def fill(environment: Environment, posts: int) -> None:
    """Send the live posts and wait until the subject has dealt with them."""
    load, reader = Load(environment, tag="live"), SignalReader(environment)
    waiting = [load.send_post(watched=False) for _ in range(posts)]
    load.flush()
    until = time.monotonic() + WITHIN_S
    while waiting := reader.unfinished(waiting):
        if time.monotonic() > until:
            raise SystemExit(f"{len(waiting)} of {posts} posts not done after {WITHIN_S:.0f} s")
        time.sleep(0.2)


def beside(environment: Environment, events: int, seconds: float) -> subprocess.Popen[bytes]:
    """Start the load in a process of its own: a fifth of it posts, the rest clicks."""
    script = Path(__file__).parent / "load.py"
    posts = events // 5
    rates = ["--posts", str(posts), "--engagements", str(events - posts)]
    return subprocess.Popen(
        [sys.executable, str(script), *rates, "--seconds", str(seconds)],
        env={**os.environ, **environment_variables(environment)},
    )


@dataclass(frozen=True)
class FlipTimes:
    """A subject's flips, and the upper edges of how long a cycle of its loop took meanwhile."""

    ms: Sequence[float]
    reads: int
    loop_ms: float
    cpu_ms: float
    stolen: float  # of one processor, by the host

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(self.ms, 50))

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.ms, 99))


def measure(name: SubjectName, python: str, posts: int, events: int, flips: int) -> FlipTimes:
    """Fill a subject, flip its weights beside the load, and check every read."""
    with (
        own_servers(python) as environment,
        running(name, environment, python=python) as subject,
    ):
        fill(environment, posts)
        reader = WeightsReader(environment)
        flipper = Flipper(environment, reader)
        load = beside(environment, events, 600)
        try:
            flipper.start()
            time.sleep(WARM_S)
            reader.reads = 0
            before, stolen = subject.samples(), Stolen()
            ms = [flipper.flip(high=i % 2 == 0) for i in range(flips)]
            samples, share = subject.samples(), stolen.share()
            block_ms = samples.longest_loop_ms(before)
            cpu_ms = samples.longest_loop_ms(before, LOOP_CPU_HISTOGRAM)
            assert load.poll() is None, "the load ended early"
        finally:
            load.terminate()
            load.wait()
    return FlipTimes(ms, reader.reads, block_ms, cpu_ms, share)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=500, help="a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", default="", help="the python of another checkout")
    options = parser.parse_args()
    print(describe(), flush=True)
    columns = f"{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'reads':>8}{'loop ms <=':>12}"
    print(f"{'subject':<9}{'flips':>6}{columns}{'cpu ms <=':>11}{'stolen':>8}")
    sides: dict[SubjectName, str] = {"worker": sys.executable}
    if options.against:
        sides = {"before": options.against, **sides}
    found: dict[SubjectName, list[FlipTimes]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, python in sides.items():
            one = measure(name, python, options.posts, options.events, options.flips)
            found[name].append(one)
            print(
                f"{name:<9}{len(one.ms):>6}{one.p50_ms:>9.1f}{one.p99_ms:>9.1f}{max(one.ms):>9.1f}"
                f"{one.reads:>8}{one.loop_ms:>12.0f}{one.cpu_ms:>11.0f}{one.stolen:>8.2f}",
                flush=True,
            )
    print(f"{'median':<9}{'p50 ms':>9}{'p99 ms':>9}")
    for name, rounds in found.items():
        p50, p99 = (median(getattr(times, f) for times in rounds) for f in ("p50_ms", "p99_ms"))
        print(f"{name:<9}{p50:>9.1f}{p99:>9.1f}")
    print("no read was mixed, short or empty")


if __name__ == "__main__":
    main()
