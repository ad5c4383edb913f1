"""Memory per live post: in the combiner, and in Redis, apart.

    python benchmarks/bench_memory.py [--posts 50000] [--compact-posts 100000]

The combiner's by `tracemalloc`, of posts with all five signals by one author in three;
Redis' by the growth of `used_memory` while `signals:` is written, in a Redis of its own without
a prefix: ids of posts and authors of 20 bytes, five signals, one post in twenty hidden.
"""

from __future__ import annotations

import argparse
import tracemalloc
from itertools import islice

import numpy as np
import redis
from bench_combine import fill
from compact_posts import post_ids, whole_posts
from machine import describe
from own_redis import own_redis

from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.command_pipeline import open_writer_client
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.settings.clock import now_ms

_SLICE = 1000


def in_combiner(posts: int) -> float:
    """The combiner's bytes a post."""
    tracemalloc.start()
    combiner, arrays = fill(posts, np.random.default_rng(7), now_ms())
    combiner.cycle(now_ms(), lambda _: False)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    own = sum(array.nbytes for array in arrays.values())
    return (kept - own) / posts


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=50_000)
    parser.add_argument("--compact-posts", type=int, default=100_000)
    parser.add_argument("--combiner-only", action="store_true", help="needs no Redis")
    options = parser.parse_args()
    posts = options.posts
    print(describe())
    bytes_each = in_combiner(posts)
    print(f"combiner: {bytes_each:.0f} bytes a live post at {posts:,} (aim: 300)")
    if options.combiner_only:
        return
    bytes_each, key_bytes = of_compact_hashes(options.compact_posts)
    print(
        f"Redis:    {bytes_each:.0f} bytes a live post in compact hashes at"
        f" {options.compact_posts:,} (aim: 450); MEMORY USAGE says {key_bytes:.0f}"
    )


if __name__ == "__main__":
    main()
