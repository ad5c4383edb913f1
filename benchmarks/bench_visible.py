"""From `produce` to visible in Redis, everything on this machine.

    python benchmarks/bench_visible.py [--seconds 10] [--rates 100,1000]

A post is visible when the feed of its community has it; an engagement when the score
of its post there has changed.  Every event is followed to the end: one that never
shows fails the benchmark.  CPU is that of all six stages, by /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import redis.asyncio
from aiokafka import AIOKafkaProducer
from engine import own_environment, running_engine
from sentences import sentences

from feedmill.deploy.supervisor import Supervisor
from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement
from feedmill.events.post import Post
from feedmill.streams.kafka.clients import new_producer
from feedmill.streams.settings.environment import Environment

COMMUNITIES = 100
POLL_S = 0.002
WORDS = 29


@dataclass
class Waiting:
    """An event that is not visible yet."""

    post_id: str
    feed: str
    sent_at: float
    before: float | None  # the score to differ from


class Watcher:
    """Polls Redis for everything that waits."""

    def __init__(self, environment: Environment) -> None:
        self._client = redis.asyncio.Redis.from_url(environment.redis)
        self._prefix = environment.redis_prefix
        self.waiting: dict[str, Waiting] = {}
        self.seconds: list[float] = []

    def feed(self, community: int) -> str:
        return f"{self._prefix}feed:{{community:c{community}}}"

    async def score(self, feed: str, post_id: str) -> float | None:
        return await self._client.zscore(feed, post_id)

    async def watch(self) -> None:
        while True:
            items = list(self.waiting.values())
            if items:
                pipeline = self._client.pipeline(transaction=False)
                for item in items:
                    pipeline.zscore(item.feed, item.post_id)
                scores = await pipeline.execute()
                now = time.perf_counter()
                for item, score in zip(items, scores, strict=True):
                    if score is not None and score != item.before:
                        self.seconds.append(now - item.sent_at)
                        del self.waiting[item.post_id]
            await asyncio.sleep(POLL_S)

    async def drained(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self.waiting:
            if time.monotonic() > until:
                lost = len(self.waiting)
                raise SystemExit(f"{lost} events were not visible after {timeout_s} s: wrong")
            await asyncio.sleep(0.01)


def cpu_seconds(supervisor: Supervisor) -> float:
    total = 0.0
    for child in supervisor.children:
        if child.process is not None:
            fields = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / 100
    return total


async def paced(rate: float, seconds: float) -> AsyncIterator[int]:
    """Yield numbers at a steady rate."""
    start = time.perf_counter()
    for i in range(int(rate * seconds)):
        ahead = start + i / rate - time.perf_counter()
        if ahead > 0.0005:
            await asyncio.sleep(ahead)
        yield i


async def send_posts(
    producer: AIOKafkaProducer, environment: Environment, watcher: Watcher, rate: float, s: float
) -> int:
    topic, tag, count = environment.topic("posts"), f"p{rate:.0f}", 0
    # One text for all would be a campaign, and hidden.
    texts = sentences(WORDS, seed=round(rate))
    async for i in paced(rate, s):
        post_id = f"{tag}-{i}"
        post = Post(
            post_id,
            f"a{i}",
            time.time_ns() // 1_000_000,
            next(texts),
            lang="en",
            communities=(f"c{i % COMMUNITIES}",),
        )
        watcher.waiting[post_id] = Waiting(
            post_id, watcher.feed(i % COMMUNITIES), time.perf_counter(), None
        )
        await producer.send(topic, key=post_id.encode(), value=encode(post))
        count += 1
    return count


async def send_engagements(
    producer: AIOKafkaProducer, environment: Environment, watcher: Watcher, rate: float, s: float
) -> int:
    topic, count = environment.topic("engagements"), 0
    posts = int(min(100 * s, rate * 2))  # of those that were sent at 100 a second
    scores = {}
    for i in range(posts):
        scores[i] = await watcher.score(watcher.feed(i % COMMUNITIES), f"p100-{i}")
    async for i in paced(rate, s):
        number = i % posts
        post_id, feed = f"p100-{number}", watcher.feed(number % COMMUNITIES)
        event = Engagement(post_id, f"u{i}", "click", time.time_ns() // 1_000_000, f"e{rate}-{i}")
        if post_id not in watcher.waiting and i < posts:
            watcher.waiting[post_id] = Waiting(post_id, feed, time.perf_counter(), scores[number])
        await producer.send(topic, key=post_id.encode(), value=encode(event))
        count += 1
    return count


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rates", default="100,1000")
    options = parser.parse_args()
    environment = own_environment()
    print(
        f"{'events':<12}{'rate/s':>8}{'seen':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}"
        f"{'CPU µs/event':>14}"
    )
    with tempfile.TemporaryDirectory() as logs:
        async with running_engine(environment, Path(logs)) as supervisor:
            producer = new_producer(environment)
            await producer.start()
            watcher = Watcher(environment)
            watching = asyncio.ensure_future(watcher.watch())
            await send_posts(producer, environment, watcher, 51, 2)  # warm
            await watcher.drained(30)
            for name, send in (("posts", send_posts), ("engagements", send_engagements)):
                for rate in map(float, options.rates.split(",")):
                    watcher.seconds.clear()
                    cpu = cpu_seconds(supervisor)
                    count = await send(producer, environment, watcher, rate, options.seconds)
                    await watcher.drained(60)
                    ms = np.array(watcher.seconds) * 1000
                    used = (cpu_seconds(supervisor) - cpu) * 1e6 / count
                    print(
                        f"{name:<12}{rate:>8.0f}{len(ms):>8}{np.percentile(ms, 50):>9.1f}"
                        f"{np.percentile(ms, 99):>9.1f}{ms.max():>9.1f}{used:>14.0f}",
                        flush=True,
                    )
            watching.cancel()
            await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
