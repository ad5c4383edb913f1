"""Writing to Redis: the writer's work for each post and feed, beside redis-py's own pipeline.

    python benchmarks/bench_redis.py [--posts 20000]

Both run the same script calls in batches of the same size against a Redis of their own, in turn,
three rounds each; the median is shown.  Wall time has Redis' part in it, processor time is the
client's thread alone.  Before anything is timed, both are checked to leave the same hash.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import redis
from compact_posts import post_ids, whole_posts
from machine import describe
from own_redis import own_redis

from feedmill.events.partition import ALL_SHARDS
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.cluster import open_pipeline
from feedmill.streams.redis.commands import CommandPipeline, Keys, load_commands
from feedmill.streams.redis.post_writes import signals_command
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.settings.clock import now_ms

TOKEN = 12_345
TOKENS = dict.fromkeys(ALL_SHARDS, TOKEN)
ROUNDS = 3
FEED_SIZE = 500
SLICE = 1_000
# Feeds, and in how many a changed post moves: docs/scaling.md.
MOVES = ((1_011, 0.6), (11_011, 1.3))

WriteAll = Callable[[Sequence[SignalsChange], int], None]


class Peers:
    """The writer, and redis-py's pipeline, on one server."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.writer = BatchWriter(open_pipeline(url), "")
        self.writer.probe(WriteReport())
        CommandPipeline(self.client).execute(load_commands())

    def by_writer(self, changes: Sequence[SignalsChange], size: int) -> None:
        """As the engine does, with the check for a flush in every batch."""
        report = WriteReport()
        for start in range(0, len(changes), size):
            part = changes[start : start + size]
            self.writer.write(WriteBatch(now_ms(), TOKENS, part), report)
        assert (report.written_posts, report.errors.total()) == (len(changes), 0)

    def by_pipeline(self, changes: Sequence[SignalsChange], size: int) -> None:
        """The same calls, without bookkeeping."""
        keys = Keys("")
        for start in range(0, len(changes), size):
            pipeline: Any = self.client.pipeline(transaction=False)
            for change in changes[start : start + size]:
                pipeline.execute_command(*signals_command(keys, change, TOKEN))
            assert all(answer == 1 for answer in pipeline.execute(raise_on_error=False))


def seconds_of(write: WriteAll, changes: Sequence[SignalsChange], size: int) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.thread_time()
    write(changes, size)
    return time.perf_counter() - wall, time.thread_time() - processor


def check_equal(peers: Peers, changes: Sequence[SignalsChange]) -> None:
    """Both leave the same content."""
    key, found = f"signals:{changes[0].post_id}", []
    for write in (peers.by_writer, peers.by_pipeline):
        peers.client.delete(key)
        write(changes[:1], 1)
        found.append(peers.client.hgetall(key))
    assert found[0] == found[1]
    assert found[0]


def posts_by_batch_size(peers: Peers, posts: int) -> None:
    changes = list(whole_posts(post_ids(posts), now_ms()))
    check_equal(peers, changes)
    print("| posts a batch | writer, µs a post: wall / processor | redis-py's pipeline |")
    print("|--:|--:|--:|")
    for size in (1, 10, 100, 1_000):
        part = changes[: max(size, min(posts, size * 200))]
        measured: dict[WriteAll, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for write in (peers.by_writer, peers.by_pipeline):
                measured.setdefault(write, []).append(seconds_of(write, part, size))
        cells = [
            " / ".join(
                f"{median(times) / len(part) * 1e6:.0f}" for times in zip(*found, strict=True)
            )
            for found in measured.values()
        ]
        print(f"| {size:,} | {cells[0]} | {cells[1]} |")


def whole_feeds(peers: Peers, feeds: int) -> float:
    """Milliseconds for each feed that is written whole, in batches of ten."""
    settings = Settings(SignalNames())
    weights, gates = settings.weights_of(""), settings.gates_of("")
    ids = post_ids(FEED_SIZE)
    changes = [
        FeedChange(
            *(f"community:{n}", True, [(p, float(n + i)) for i, p in enumerate(ids)], ()),
            *(FEED_SIZE, weights, gates, 0),
        )
        for n in range(feeds)
    ]
    report, start = WriteReport(), time.perf_counter()
    for first in range(0, feeds, 10):
        part = changes[first : first + 10]
        peers.writer.write(WriteBatch(now_ms(), TOKENS, feeds=part), report)
    assert len(report.written_feeds) == feeds
    return (time.perf_counter() - start) / feeds * 1e3


def own_time(peers: Peers, posts: int, feeds: int, moves: float) -> float:
    """Redis' own processor time of a changed post, µs: one signal, and `moves` places in feeds.

    As a ranker writes them, in slices of 1,000; each move is in a feed that is drawn.
    """
    settings, rng = Settings(SignalNames()), np.random.default_rng(1)
    weights, gates = settings.weights_of(""), settings.gates_of("")
    ids = post_ids(FEED_SIZE)
    changes = [
        SignalsChange(
            one.post_id,
            one.expires_at_ms,
            whole=False,
            fields={"engagement": one.fields["engagement"]},
            post_offset=one.post_offset,
        )
        for one in whole_posts(post_ids(posts), now_ms())
    ]
    report, before_s = WriteReport(), _processor_s(peers.client)
    for first in range(0, posts, SLICE):
        drawn = rng.integers(feeds, size=round(SLICE * moves)).tolist()
        entries: dict[int, list[tuple[str, float]]] = {}
        for number, feed in enumerate(drawn):
            entries.setdefault(feed, []).append((ids[number % FEED_SIZE], float(first + number)))
        moved = [
            FeedChange(*(f"f{n}", False, some, ()), *(FEED_SIZE, weights, gates, 0))
            for n, some in entries.items()
        ]
        part = changes[first : first + SLICE]
        peers.writer.write(WriteBatch(now_ms(), TOKENS, part, moved), report)
    assert not report.errors
    return (_processor_s(peers.client) - before_s) / posts * 1e6


def _processor_s(client: Any) -> float:
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=20_000)
    posts = parser.parse_args().posts
    print(describe())
    with own_redis() as url:
        peers = Peers(url)
        posts_by_batch_size(peers, posts)
        for kind in ("new", "there already"):
            print(f"a feed of {FEED_SIZE}, {kind}: {whole_feeds(peers, 200):.2f} ms")
        for feeds, moves in MOVES:
            us = own_time(peers, posts, feeds, moves)
            print(f"Redis' own time of a change, {feeds:,} feeds, {moves} moves: {us:.1f} µs")
        peers.writer.close()
        peers.client.close()


if __name__ == "__main__":
    main()
