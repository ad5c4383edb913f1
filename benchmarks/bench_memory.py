"""Memory per live post: in the combiner, and in Redis, apart.

    python benchmarks/bench_memory.py [--posts 50000] [--combiner-only]

The combiner's by `tracemalloc`, of posts with all five signals by one author in three;
Redis' by the growth of `used_memory` while `signals:` and the feeds of these posts are written.
"""

from __future__ import annotations

import argparse
import asyncio
import tracemalloc

import numpy as np
import redis.asyncio
from bench_combine import fill
from engine import own_environment
from machine import describe

from feedmill.rankers.combiner import Combiner
from feedmill.streams.kafka.clients import new_redis
from feedmill.streams.redis.writer import RedisWriter
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment

_SLICE = 1000


def in_combiner(posts: int) -> tuple[Combiner, float]:
    """The combiner, and its bytes a post."""
    tracemalloc.start()
    combiner, arrays = fill(posts, np.random.default_rng(7), now_ms())
    combiner.cycle(now_ms(), lambda _: False)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    own = sum(array.nbytes for array in arrays.values())
    return combiner, (kept - own) / posts


async def in_redis(environment: Environment, combiner: Combiner, posts: int) -> float:
    """Bytes a post; what was written is removed again."""
    client = new_redis(environment)
    writer = RedisWriter(client, environment.redis_prefix, lambda _: 1)
    before = (await client.info("memory"))["used_memory"]
    combiner.rewrite_all()
    signals, feeds = combiner.cycle(now_ms())
    for start in range(0, len(signals), _SLICE):
        await writer.write(signals[start : start + _SLICE], [], now_ms(), lambda _: True)
    await writer.write([], feeds, now_ms(), lambda _: True)
    after = (await client.info("memory"))["used_memory"]
    assert await client.zcard(f"{environment.redis_prefix}feed:{{global}}") == 500
    await _remove(client, environment.redis_prefix)
    await client.aclose()
    return float(after - before) / posts


async def _remove(client: redis.asyncio.Redis, prefix: str) -> None:
    keys = [key async for key in client.scan_iter(f"{prefix}*", count=_SLICE)]
    for start in range(0, len(keys), _SLICE):
        await client.unlink(*keys[start : start + _SLICE])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=50_000)
    parser.add_argument("--combiner-only", action="store_true", help="needs no Redis")
    options = parser.parse_args()
    posts = options.posts
    print(describe())
    combiner, bytes_each = in_combiner(posts)
    print(f"combiner: {bytes_each:.0f} bytes a live post at {posts:,} (aim: 300)")
    if options.combiner_only:
        return
    bytes_each = asyncio.run(in_redis(own_environment(), combiner, posts))
    print(f"Redis:    {bytes_each:.0f} bytes a live post at {posts:,}")


if __name__ == "__main__":
    main()
