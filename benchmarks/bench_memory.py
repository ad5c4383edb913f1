"""Memory per live post: in the combiner, and in Redis, apart.

    python benchmarks/bench_memory.py [--posts 1000000] [--combiner-only] [--compact-posts 100000]

The combiner's by the growth of resident memory, while batches of 1,000 records come as in a
restore: posts, then their five signals, ids of posts and authors of 20 bytes, one author for three
posts.  First the view alone, with the time of a record and of the longest call; then with the
decisions and scores of one weighting.  What is stored is compared with what was sent.
Redis' by the growth of `used_memory` while `signals:` is written, in a Redis of its own without
a prefix: ids of posts and authors of 20 bytes, five signals, one post in twenty hidden.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import redis
from compact_posts import post_ids, whole_posts
from machine import describe
from own_redis import own_redis

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.command_pipeline import open_writer_client
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.settings.clock import now_ms

NAMES = SignalNames()
_SLICE = 1000


def resident_bytes() -> int:
    """Of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def batch_of(start: int, stop: int, at_ms: int) -> tuple[list[Post], dict[str, list[Signal]]]:
    """Some posts, and by name their signals."""
    ids = [f"post-{i:015d}" for i in range(start, stop)]
    posts = [
        Post(
            post_id, f"user-{i // 3:015d}", at_ms - i % 500_000_000, "", communities=(f"c{i % 50}",)
        )
        for i, post_id in enumerate(ids, start)
    ]
    signals = {
        name: [
            # Of engagement the revision is the last offset counted.
            Signal(
                post_id, i, value_of(i), name, "1", at_ms, revision=i if name == "engagement" else 0
            )
            for i, post_id in enumerate(ids, start)
        ]
        for name in NAMES.all
    }
    return posts, signals


def value_of(number: int) -> float:
    return number % 1000 / 1024


class LongestCall:
    """Seconds of processor in all calls, and in the longest one."""

    def __init__(self) -> None:
        self.total_s = self.longest_s = 0.0

    def __call__(self, call: Callable[[], object]) -> None:
        start = time.thread_time()
        call()
        seconds = time.thread_time() - start
        self.total_s += seconds
        self.longest_s = max(self.longest_s, seconds)


def in_view(posts: int) -> None:
    """Print bytes a post of the view, and with decisions and scores; the time of a record."""
    at_ms, timed = now_ms(), LongestCall()
    batch_of(0, _SLICE, at_ms)  # the heap of a batch is not the view's
    before = resident_bytes()
    view = PostView(NAMES)
    for start in range(0, posts, _SLICE):
        stop = min(start + _SLICE, posts)
        some, signals = batch_of(start, stop, at_ms)
        offsets = list(range(start, stop))
        timed(partial(view.update_posts, some, offsets, [at_ms] * len(some)))
        for name, of_name in signals.items():
            timed(partial(view.update_signals, name, of_name))
        timed(view.take_changed)
    check(view, posts, at_ms)
    alone = resident_bytes() - before
    settings = Settings(NAMES)
    decisions = GateDecisions(view, settings.gates_of(""))
    decisions.update(slice(0, view.capacity), at_ms)
    scores = FeedScores(view, settings.weights_of(""), decisions)
    scores.update(slice(0, view.capacity))
    scored = resident_bytes() - before
    records = posts * (1 + len(NAMES.all))
    print(
        f"view:     {alone / posts:.0f} bytes a live post at {posts:,}, {scored / posts:.0f} with"
        f" scores; {timed.total_s / records * 1e6:.2f} us a record, the longest call"
        f" {timed.longest_s * 1e3:.1f} ms"
    )


def check(view: PostView, posts: int, at_ms: int) -> None:
    """See that what was sent is there."""
    assert len(view) == posts
    for i in range(0, posts, max(posts // 100, 1)):
        row = view.row_of(f"post-{i:015d}")
        assert row is not None
        assert (view.post.offset[row], view.author_of(row)) == (i, f"user-{i // 3:015d}")
        for name in NAMES.all:
            revision = i if name == "engagement" else 0
            value = float(np.float32(value_of(i)))
            assert view.signal(row, name) == (value, name, "1", i, at_ms, revision, None)


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
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--compact-posts", type=int, default=100_000)
    parser.add_argument("--combiner-only", action="store_true", help="needs no Redis")
    options = parser.parse_args()
    print(describe())
    in_view(options.posts)
    if options.combiner_only:
        return
    bytes_each, key_bytes = of_compact_hashes(options.compact_posts)
    print(
        f"Redis:    {bytes_each:.0f} bytes a live post in compact hashes at"
        f" {options.compact_posts:,} (aim: 450); MEMORY USAGE says {key_bytes:.0f}"
    )


if __name__ == "__main__":
    main()
