"""A backlog: posts wait in the topic, then a subject starts; the worker beside the bare loop.

    python benchmarks/bench_backlog.py [--posts 200000]

A post is done when Redis has all its signals.  The rate is that from the first post done to the
last, so that neither start is part of it.  At the end every post is looked up: one that lacks a
signal fails the run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from load import Load
from machine import Stolen, describe
from subjects import SUBJECTS, SubjectName, own_servers, start

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.streams.environment import Environment

SAMPLED = 500
LOOK_EVERY_S = 0.05
WITHIN_S = 180.0
PROGRESS_EVERY_S = 10.0


@dataclass(frozen=True)
class BacklogRun:
    """One subject's way through the backlog."""

    first_s: float  # from its start until the first post was done
    whole_s: float  # from its start until all were
    cpu_ms: float  # a post, its start included
    posts: int
    stolen: float  # of one processor, by the host

    @property
    def rate(self) -> float:
        """Posts a second."""
        return self.posts / (self.whole_s - self.first_s)


class SignalReader:
    """Asks Redis which posts have all signals that those without counts have."""

    def __init__(self, environment: Environment) -> None:
        self._client = redis.Redis.from_url(environment.redis)
        self._prefix = environment.redis_prefix
        self._names = [n for n in environment.signals.all if n not in FURTHER_SIGNALS]

    def unfinished(self, post_ids: Sequence[str]) -> list[str]:
        """Return the posts that lack a signal."""
        found = []
        for first in range(0, len(post_ids), 5000):
            some = post_ids[first : first + 5000]
            pipeline = self._client.pipeline(transaction=False)
            for post_id in some:
                pipeline.hmget(f"{self._prefix}signals:{post_id}", self._names)
            answers = pipeline.execute()
            found += [p for p, values in zip(some, answers, strict=True) if None in values]
        return found


def measure(name: SubjectName, posts: int) -> BacklogRun:
    """Fill the topic, start the subject, and time it."""
    with own_servers() as environment:
        load = Load(environment)
        ids = [load.send_post(watched=False) for _ in range(posts)]
        load.flush()
        reader = SignalReader(environment)
        started, stolen = time.perf_counter(), Stolen()
        arguments = ["--from-beginning"] if name == "bare" else []
        subject = start(name, environment, arguments=arguments)
        try:
            first_s, whole_s = _follow(reader, ids, started)
            share = stolen.share()
            cpu_ms = subject.cpu_seconds() * 1000 / posts
            left = reader.unfinished(ids)
            assert not left, f"{len(left)} posts lack a signal, such as {left[0]}"
        finally:
            subject.stop()
    return BacklogRun(first_s, whole_s, cpu_ms, posts, share)


def _follow(reader: SignalReader, ids: Sequence[str], started: float) -> tuple[float, float]:
    """Return after how many seconds the first and the last post of a sample were done."""
    waiting = list(ids[:: max(1, len(ids) // SAMPLED)])
    waiting += ids[-20:]
    sampled, first_s, told_at = len(waiting), 0.0, started
    while waiting:
        waiting = reader.unfinished(waiting)
        now = time.perf_counter()
        if len(waiting) < sampled and not first_s:
            first_s = now - started
        if now - told_at > PROGRESS_EVERY_S:
            told_at = now
            done = 1 - len(waiting) / sampled
            print(f"  {done:.0%} after {now - started:.0f} s", flush=True)
        if now - started > WITHIN_S:
            raise SystemExit(f"{len(waiting)} of {sampled} posts not done after {WITHIN_S:.0f} s")
        time.sleep(LOOK_EVERY_S)
    return first_s, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=200_000)
    options = parser.parse_args()
    print(describe(), flush=True)
    found = {}
    for name in SUBJECTS:
        print(f"{name}: {options.posts:,} posts wait", flush=True)
        found[name] = measure(name, options.posts)
    columns = (
        f"{'first s':>9}{'all s':>8}{'posts/s':>9}{'ratio':>7}{'CPU ms/post':>13}{'stolen':>8}"
    )
    print(f"{'subject':<8}{columns}")
    for name, run in found.items():
        ratio = run.rate / found["bare"].rate
        print(
            f"{name:<8}{run.first_s:>9.1f}{run.whole_s:>8.1f}{run.rate:>9,.0f}{ratio:>7.2f}"
            f"{run.cpu_ms:>13.3f}{run.stolen:>8.2f}"
        )


if __name__ == "__main__":
    main()
