"""Memory per live post: in the combiner, of the engagement counts, and in Redis, apart.

    python benchmarks/bench_memory.py [--posts 1000000] [--redis-posts 300000] [--combiner-only]

The combiner's by the growth of resident memory, while batches of 1,000 records come as in a
restore: posts, then the signals that default weights ask for, ids of posts and authors of 20 bytes,
one author for three posts.  First the view alone, with the time of a record and of the longest
call; then with the decisions and scores of one weighting.  What is stored is compared with what was
sent.
The engagement counts' by the growth of resident memory in a restore of `counters`.
Redis' by the growth of `used_memory` while a combiner of the same posts is written to a Redis of
its own, without a prefix: unless told otherwise 501 feeds, of 500 posts each.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import redis
from live_posts import NAMES, WRITTEN
from machine import describe
from subjects import own_redis

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.counters import Counters
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.engagement.packed_states import PostState, encode_state
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.batches import FetchedRecord
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.settings.clock import now_ms

TOKEN = 1_790_000_000_000
TOKENS = dict.fromkeys(ALL_SHARDS, TOKEN)
DAY_MS = 86_400_000
VERSION = "56e6e21cd4ce"  # as long as those of shipped models
COMMUNITIES = 50
# Those whose revision is the last offset counted.
COUNTED = {"engagement", *FURTHER_SIGNALS}
_SLICE = 1000


def resident_bytes() -> int:
    """Of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def batch_of(
    start: int, stop: int, at_ms: int, communities: int = COMMUNITIES
) -> tuple[list[Post], dict[str, list[Signal]]]:
    """Some posts in so many communities, and by name their signals."""
    ids = [f"post-{i:015d}" for i in range(start, stop)]
    posts = [
        Post(
            post_id,
            f"user-{i // 3:015d}",
            at_ms - i % 500_000_000,
            "",
            communities=(f"c{i % communities}",),
        )
        for i, post_id in enumerate(ids, start)
    ]
    signals = {
        name: [
            Signal(
                post_id,
                i,
                value_of(i),
                name,
                VERSION,
                at_ms,
                revision=i if name in COUNTED else 0,
            )
            for i, post_id in enumerate(ids, start)
        ]
        for name in WRITTEN
    }
    return posts, signals


def value_of(number: int) -> float:
    # 24 bits of mantissa: as long in decimal as a model's.
    return number * 2654435761 % 2**24 / 2**24


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
        timed(view.changed.take)
    check(view, posts, at_ms)
    alone = resident_bytes() - before
    settings = Settings(NAMES)
    decisions = GateDecisions(view, settings.gates_of(""))
    decisions.update(slice(0, view.capacity), at_ms)
    scores = FeedScores(settings.weights_of(""), decisions)
    scores.update(slice(0, view.capacity))
    scored = resident_bytes() - before
    records = posts * (1 + len(WRITTEN))
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
        for name in WRITTEN:
            revision = i if name in COUNTED else 0
            value = float(np.float32(value_of(i)))
            assert view.signal(row, name) == (value, name, VERSION, i, at_ms, None, revision)


def in_counts(posts: int, kinds: int) -> None:
    """Print bytes a post of the engagement counts, and the time of a restored record."""
    counters, timed = Counters(), LongestCall()
    for i in range(kinds):
        counters.counts[i], counters.sums[i], counters.at_ms[i] = 3, 1.5, now_ms()
    state, before = PartitionState(), resident_bytes()
    for start in range(0, posts, _SLICE):
        records = [
            FetchedRecord(
                i, 0, b"", encode_state(PostState(f"post-{i:015d}", i, 0.01, i, 0, counters))
            )
            for i in range(start, min(start + _SLICE, posts))
        ]
        timed(partial(state.restore, records))
    del records
    assert len(state) == posts
    print(
        f"counts:   {(resident_bytes() - before) / posts:.0f} bytes a live post at {posts:,} with"
        f" {kinds} kinds of event; {timed.total_s / posts * 1e6:.2f} us a restored record, the"
        f" longest slice {timed.longest_s * 1e3:.1f} ms"
    )


def fill_as_live(
    view: PostView, numbers: range, at_ms: int, rng: np.random.Generator, communities: int
) -> None:
    """Posts of the last day; filters judge one within a second, engagement for hours.

    One in twenty is hidden.
    """
    some, _ = batch_of(numbers.start, numbers.stop, at_ms, communities)
    offsets = [10_000_000 + i for i in numbers]
    ages = rng.integers(1000, DAY_MS, len(some))
    posts = [
        msgspec.structs.replace(post, created_at_ms=at_ms - age)
        for post, age in zip(some, ages.tolist(), strict=True)
    ]
    arrived = [
        post.created_at_ms + late for post, late in zip(posts, _waits(rng, 500, posts), strict=True)
    ]
    view.update_posts(posts, offsets, arrived)
    for name in WRITTEN:
        values = rng.random(len(posts), np.float32).astype(np.float64)
        if name in NAMES.gates:
            values = np.where(rng.random(len(posts)) < 0.05 / 3, values, values * 0.5)
        waits = _waits(rng, DAY_MS if name == "engagement" else 1000, posts)
        view.update_signals(
            name,
            [
                Signal(post.post_id, offset, value, name, VERSION, first + wait)
                for post, offset, value, first, wait in zip(
                    posts, offsets, values.tolist(), arrived, waits, strict=True
                )
            ],
        )


def _waits(rng: np.random.Generator, most_ms: int, posts: Sequence[Post]) -> list[int]:
    waits: list[int] = rng.integers(1, most_ms, len(posts)).tolist()
    return waits


def in_redis(posts: int, communities: int) -> None:
    """Print bytes a post of `signals:` and the feeds, and what MEMORY USAGE says of the keys."""
    at_ms, combiner, rng = now_ms(), Combiner(NAMES), np.random.default_rng(7)
    for start in range(0, posts, _SLICE):
        fill_as_live(
            combiner.view, range(start, min(start + _SLICE, posts)), at_ms, rng, communities
        )
    changes = combiner.cycle(at_ms)
    with own_redis() as url, redis.Redis.from_url(url) as client:
        writer, report = BatchWriter(open_pipeline(url), ""), WriteReport()
        writer.probe(report)
        before = client.info("memory")["used_memory"]
        for start in range(0, posts, _SLICE):
            part = changes.signals[start : start + _SLICE]
            writer.write(WriteBatch(at_ms, TOKENS, part), report)
        signals_only = client.info("memory")["used_memory"]
        writer.write(WriteBatch(at_ms, TOKENS, (), changes.feeds), report)
        after = client.info("memory")["used_memory"]
        assert (report.written_posts, report.errors.total()) == (posts, 0)
        keys = [f"signals:{one.post_id}" for one in changes.signals[:: max(posts // 1000, 1)]]
        assert {client.object("encoding", key) for key in keys} == {b"listpack"}
        usage = float(np.mean([client.memory_usage(key) for key in keys]))
        writer.close()
    print(
        f"Redis:    {(after - before) / posts:.0f} bytes a live post at {posts:,} with"
        f" {len(changes.feeds)} feeds, {(signals_only - before) / posts:.0f} without (aim: 450);"
        f" MEMORY USAGE of a key is {usage:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--redis-posts", type=int, default=300_000)
    parser.add_argument("--communities", type=int, default=500, help="each has a feed in Redis")
    parser.add_argument("--combiner-only", action="store_true", help="needs no Redis")
    options = parser.parse_args()
    print(describe())
    in_view(options.posts)
    for kinds in (0, 1, 3):
        in_counts(options.posts, kinds)
    if options.combiner_only:
        return
    in_redis(options.redis_posts, options.communities)


if __name__ == "__main__":
    main()
