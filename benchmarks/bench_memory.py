"""Memory per live post: in the combiner, and in Redis, apart.

    python benchmarks/bench_memory.py [--posts 50000] [--compact-posts 100000]

The combiner's by `tracemalloc`, of posts with all five signals by one author in three;
Redis' by the growth of `used_memory` while `signals:` and the feeds of these posts are written.
The compact hashes of the writer's thread are measured apart, in a Redis of their own without
a prefix: ids of posts and authors of 20 bytes, five signals, one post in twenty hidden.
"""

from __future__ import annotations

import argparse
import asyncio
import tracemalloc
from itertools import islice

import numpy as np
import redis
import redis.asyncio
from bench_combine import fill
from compact_posts import post_ids, whole_posts
from engine import own_environment
from machine import describe
from own_redis import own_redis

from feedmill.rankers.combiner import Combiner
from feedmill.streams.kafka.clients import new_redis
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.command_pipeline import open_writer_client
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.redis.writer import RedisWriter
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment

_SLICE = 1000


def in_combiner(posts: int) -> tuple[Combiner, float]:
    """The combiner, and its bytes a post."""
    tracemalloc.start()
    combiner, arrays = fill(posts, np.random.default_rng(7), now_ms())
    combiner.work(now_ms())
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
    signals, feeds, _ = combiner.cycle(now_ms())
    for start in range(0, len(signals), _SLICE):
        await writer.write(signals[start : start + _SLICE], [], now_ms(), lambda _: True)
    await writer.write([], feeds, now_ms(), lambda _: True)
    after = (await client.info("memory"))["used_memory"]
    assert await client.zcard(f"{environment.redis_prefix}feed:{{global}}") == 500
    await _remove(client, environment.redis_prefix)
    await client.aclose()
    return float(after - before) / posts


def of_compact_hashes(posts: int) -> tuple[float, float]:
    """Bytes a post by the growth of `used_memory`, and by MEMORY USAGE of a thousand keys."""
    with own_redis() as url, redis.Redis.from_url(url) as client:
        writer, report = BatchWriter(open_writer_client(url), ""), WriteReport()
        writer.probe(report)
        before = client.info("memory")["used_memory"]
        ids, at_ms = post_ids(posts), now_ms()
        changes = whole_posts(ids, at_ms)
        while part := list(islice(changes, _SLICE)):
            writer.write(WriteBatch(at_ms, lambda _: 12_345, part), report)
        assert (report.written_posts, report.errors.total()) == (posts, 0)
        after = client.info("memory")["used_memory"]
        keys = [f"signals:{post_id}" for post_id in ids[:: max(posts // 1000, 1)]]
        assert {client.object("encoding", key) for key in keys} == {b"listpack"}
        sizes = [client.memory_usage(key) for key in keys]
        writer.close()
    return float(after - before) / posts, float(np.mean(sizes))


async def _remove(client: redis.asyncio.Redis, prefix: str) -> None:
    keys = [key async for key in client.scan_iter(f"{prefix}*", count=_SLICE)]
    for start in range(0, len(keys), _SLICE):
        await client.unlink(*keys[start : start + _SLICE])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=50_000)
    parser.add_argument("--compact-posts", type=int, default=100_000)
    parser.add_argument("--combiner-only", action="store_true", help="needs no Redis")
    options = parser.parse_args()
    posts = options.posts
    print(describe())
    combiner, bytes_each = in_combiner(posts)
    print(f"combiner: {bytes_each:.0f} bytes a live post at {posts:,} (aim: 300)")
    if options.combiner_only:
        return
    bytes_each, key_bytes = of_compact_hashes(options.compact_posts)
    print(
        f"Redis:    {bytes_each:.0f} bytes a live post in compact hashes at"
        f" {options.compact_posts:,} (aim: 450); MEMORY USAGE says {key_bytes:.0f}"
    )
    bytes_each = asyncio.run(in_redis(own_environment(), combiner, posts))
    print(f"Redis:    {bytes_each:.0f} bytes a live post at {posts:,}")


if __name__ == "__main__":
    main()
