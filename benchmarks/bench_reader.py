"""Readers: the processor time of a page, of a change, of a restore, and a reader under overload.

    python benchmarks/bench_reader.py [--posts 1000000] [--seconds 60] [--only pages]

Posts of a week, ids of 20 bytes, 28 posts an author on the mean, 50 communities, with the signals
that default weights ask for; one post in 20 is hidden.  Pages have 50 posts and include reading the
request and writing the answer, without HTTP.  First drawn requests are compared with those of a
pool whose every candidate is scored.  Times are medians of the process' own processor time.

Memory and restore are those of the pool and of a combiner that ranks as many feeds, each in a
process of its own, fed with the same batches of 1,000 records.

Under overload a reader's HTTP, queue and pool run in a process of their own; what it bears is
measured with 16 connections that wait for each answer, then twice as many requests come, whether
they are answered or not, while 500 changes a second are read, half of them posts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from random import Random
from typing import Any

import aiohttp
import msgspec
import numpy as np
from bench_memory import resident_bytes
from machine import describe

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.view import PostView
from feedmill.rankers.score import scores_of
from feedmill.readers import best_posts
from feedmill.readers.page import page_of
from feedmill.readers.pool import Pool
from feedmill.readers.request import decode_request
from feedmill.readers.web import ReaderWeb, RequestQueue
from feedmill.streams.observe.metrics import Metrics

NAMES = SignalNames()
NOW_MS = 1_790_000_000_000
WEEK_MS = 7 * 86_400_000
POSTS_AN_AUTHOR = 28
VERSION = "56e6e21cd4ce"
SIGNALS = ("spam", "nsfw", "misinformation", "quality", "engagement", "hide", "report")
_BATCH = 1_000
OWN = {"quality": 0.2, "engagement": 1.5}
BOUNDS = {"weights": {"quality": [0, 2], "engagement": [0, 2]}, "adjust": [-8, 8]}
Json = dict[str, Any]
_encode = msgspec.json.Encoder().encode


def settings() -> Settings:
    """Default weights, and the feed `global` served."""
    raw = json.dumps({"value": BOUNDS}).encode()
    return Settings(NAMES).fold(b"readers/global", raw, 0)


def author(number: int) -> str:
    """The id of an author."""
    return f"author-{number:013d}"


def batches(posts: int) -> Iterator[tuple[list[Post], dict[str, list[Signal]]]]:
    """All posts with their signals, in batches; each batch has posts of the whole week."""
    random = np.random.default_rng(7)
    authors = max(1, posts // POSTS_AN_AUTHOR)
    for first in range(0, posts, _BATCH):
        numbers = range(first, min(first + _BATCH, posts))
        made = [
            Post(
                f"post-{n:015d}",
                author(int(a)),
                int(NOW_MS - age),
                "",
                communities=(f"c{n % 50}",),
            )
            for n, a, age in zip(
                numbers,
                random.integers(0, authors, len(numbers)),
                random.integers(0, WEEK_MS, len(numbers)),
                strict=True,
            )
        ]
        yield made, {name: signals(name, made, random, numbers) for name in SIGNALS}


def signals(
    name: str, posts: list[Post], random: np.random.Generator, offsets: range
) -> list[Signal]:
    """One signal of each of these posts."""
    values = random.beta(1, 40, len(posts)) if name == "engagement" else random.random(len(posts))
    if name in ("hide", "report"):
        values = values / 100
    if name in ("spam", "nsfw", "misinformation"):
        values = np.where(random.random(len(posts)) < 0.017, 0.99, values / 4)
    return [
        Signal(post.post_id, offset, value, name, VERSION, NOW_MS)
        for post, offset, value in zip(
            posts, offsets, values.astype(np.float32).tolist(), strict=True
        )
    ]


def fill(view: PostView, posts: int, after: Callable[[], object]) -> None:
    """Put posts, then signals, into a view; `after` is called behind each batch."""
    first = 0
    for made, _ in batches(posts):
        times = [NOW_MS] * len(made)
        view.update_posts(made, range(first, first + len(made)), times)
        first += len(made)
        after()
    for _, of_names in batches(posts):
        for name, some in of_names.items():
            view.update_signals(name, some)
        after()


def filled_pool(posts: int) -> Pool:
    """A pool that serves `global`."""
    pool = Pool(NAMES)
    fill(pool.view, posts, pool.forget_changes)
    pool.restored(settings())
    while pool.work(NOW_MS):
        pass
    return pool


def ask(pool: Pool, body: Json | bytes) -> bytes:
    """What a reader does for a request, without HTTP."""
    feed = pool.served.feeds["global"]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _encode(page_of(pool, feed, decode_request(data, feed.bounds), NOW_MS).answer)


def median_ms(measured: Callable[[], object], times: int) -> float:
    """The median of the processor time of a call."""
    found = []
    for _ in range(times):
        start = time.process_time()
        measured()
        found.append(time.process_time() - start)
    return float(np.median(found)) * 1000


def check_exact(pool: Pool, posts: int, draws: int) -> None:
    """Compare drawn requests with those of all candidates."""
    random, authors = Random(1), max(2, posts // POSTS_AN_AUTHOR)
    for _ in range(draws):
        body: Json = {"weights": {n: random.random() for n in OWN}, "count": 100}
        if random.random() < 0.7:
            some = random.sample(range(authors), k=min(authors, random.choice((5, 300, 4000))))
            body["authors"] = [author(n) for n in some]
        found = json.loads(ask(pool, body))["posts"]
        few, best_posts._FEW_CANDIDATES = best_posts._FEW_CANDIDATES, sys.maxsize
        right = json.loads(ask(pool, body))["posts"]
        best_posts._FEW_CANDIDATES = few
        assert [one["post_id"] for one in found] == [one["post_id"] for one in right]


def pages(posts: int) -> None:
    """Print the processor time of pages, beside scoring all posts."""
    pool = filled_pool(posts)
    check_exact(pool, posts, 40)
    print(f"40 drawn requests of {posts:,} posts: as scoring every candidate gives them")
    served, view = pool.served.feeds["global"], pool.view
    weights = served.policies[""].weights
    factors = served.policies[""].decisions.factor.values
    columns = {name: view.signals[name].value.values for name in weights.signals}
    authors = max(2, posts // POSTS_AN_AUTHOR)

    def follows(count: int) -> bytes:
        some = Random(count).sample(range(authors), k=min(count, authors))
        return json.dumps({"authors": [author(n) for n in some], "weights": OWN}).encode()

    asked = {count: follows(count) for count in (50, 500, 5_000)}

    small = filled_pool(min(posts, 10_000))
    rows = {
        "scores_of over all posts": lambda: scores_of(
            weights, columns, factors, view.post.created_ms
        ),
        "own weights": lambda: ask(pool, {"weights": OWN}),
        "own weights, 10,000 posts": lambda: ask(small, {"weights": OWN}),
        "50 follows": lambda: ask(pool, asked[50]),
        "500 follows": lambda: ask(pool, asked[500]),
        "5,000 follows": lambda: ask(pool, asked[5_000]),
    }
    for name, measured in rows.items():
        print(f"{name:28} {median_ms(measured, 60):8.2f} ms")
    changes(pool, posts)


def changes(pool: Pool, posts: int) -> None:
    """Pages a second of processor time, without and with 5,000 changes in each."""
    random = np.random.default_rng(3)
    view, offsets = pool.view, list(range(posts))

    def change(count: int) -> None:
        rows = random.integers(0, posts, count).tolist()
        values = random.beta(1, 40, count).astype(np.float32).tolist()
        new = [
            Signal(f"post-{row:015d}", offsets[row], value, "engagement", VERSION, NOW_MS)
            for row, value in zip(rows, values, strict=True)
        ]
        view.update_signals("engagement", new)
        pool.follow(NOW_MS)

    found: dict[int, float] = {}
    seconds = min(4.0, posts / 100_000)
    for rate in (0, 5_000, 0, 5_000):
        answered, start = 0, time.process_time()
        changed = 0
        while (spent := time.process_time() - start) < seconds:
            if changed < rate * spent:
                change(50)
                changed += 50
            ask(pool, {"weights": OWN})
            answered += 1
        found[rate] = max(found.get(rate, 0.0), answered / spent)
    print(f"pages a second: {found[0]:.0f}; with 5,000 changes a second {found[5000]:.0f},")
    print(f"{found[5000] / found[0]:.2f} of that")


# --- memory and restore ---------------------------------------------------------------------------


def restored(kind: str, posts: int, told: Connection) -> None:
    """In a process of its own: fill, and tell bytes a post and processor seconds."""
    before, start = resident_bytes(), time.process_time()
    held: object
    if kind == "pool":
        held = filled_pool(posts)
    else:
        combiner = Combiner(NAMES, settings())
        combiner.is_restoring = True
        fill(combiner.view, posts, lambda: combiner.rank_changes(NOW_MS))
        combiner.is_restoring = False
        while combiner.work(NOW_MS):
            pass
        held = combiner
    seconds = time.process_time() - start
    told.send(((resident_bytes() - before) / posts, seconds))
    del held


def memory(posts: int) -> None:
    """Print bytes a post and the processor time of a restore, of a pool and of a combiner."""
    context = multiprocessing.get_context("spawn")
    for kind in ("combiner", "pool"):
        told, tells = context.Pipe(duplex=False)
        process = context.Process(target=restored, args=(kind, posts, tells))
        process.start()
        in_bytes, seconds = told.recv()
        process.join()
        print(f"{kind:10} {in_bytes:6.0f} bytes a post, restored in {seconds:.1f} s of processor")


# --- overload -------------------------------------------------------------------------------------


class Served:
    """A reader's HTTP and queue over a pool, without Kafka; 500 changes a second."""

    def __init__(self, posts: int) -> None:
        self.pool, self.posts = filled_pool(posts), posts
        self.metrics = Metrics("reader", "bench")
        self.queue = RequestQueue()
        self.waited_s: list[float] = []
        self.late_s = 0.0

    def page(self, feed: str, body: bytes) -> bytes:
        served = self.pool.served.feeds[feed]
        return _encode(
            page_of(self.pool, served, decode_request(body, served.bounds), NOW_MS).answer
        )

    def redis_key(self, feed: str) -> str:
        return f"feed:{{{feed}}}"

    def closed_reason(self) -> str:
        return ""

    def ready_reason(self) -> str:
        return ""

    def metrics_text(self) -> str:
        longest = max(self.waited_s, default=0.0)
        memory_mib = resident_bytes() / 2**20
        return f"{longest} {self.late_s} {memory_mib} {time.process_time()}"

    async def run(self, tells: Connection) -> None:
        """Serve until the parent ends this process."""
        web = ReaderWeb(self, self.queue, None)
        await web.start("127.0.0.1", 0)
        tells.send(web.port)
        start, made = time.monotonic(), 0
        while True:
            now = time.monotonic()
            due = int((now - start) * 500) - made
            self.late_s = max(self.late_s, due / 500 if made else 0.0)
            self.change(made, due)
            made += due
            await asyncio.sleep(0)
            await self.queue.serve_until(now + 0.010, self.waited_s.append)

    def change(self, made: int, count: int) -> None:
        for n in range(made, made + count):
            row = n % self.posts
            post = Post(f"post-{row:015d}", author(n % 1000), NOW_MS - n, "", communities=("c1",))
            if n % 2:
                self.pool.view.update_post(post, self.posts + n, NOW_MS)
            signal = Signal(post.post_id, self.posts + n, 0.01, "engagement", VERSION, NOW_MS)
            self.pool.view.update_signal("engagement", signal)
        self.pool.follow(NOW_MS)


def serve(posts: int, tells: Connection) -> None:
    """In a process of its own."""
    asyncio.run(Served(posts).run(tells))


async def load(url: str, rate: float | None, seconds: float, statuses: Counter[int]) -> None:
    """Ask at a rate, or with 16 connections that wait for each answer."""
    body = json.dumps({"weights": OWN}).encode()
    end = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one() -> None:
            try:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    statuses[answer.status] += 1
            except (aiohttp.ClientError, OSError):
                statuses[0] += 1

        async def closed() -> None:
            while time.monotonic() < end:
                await one()

        if rate is None:
            await asyncio.gather(*(closed() for _ in range(16)))
            return
        start, sent, running = time.monotonic(), 0, set[asyncio.Task[None]]()
        while (now := time.monotonic()) < end:
            for _ in range(int((now - start) * rate) - sent):
                task = asyncio.ensure_future(one())
                running.add(task)
                task.add_done_callback(running.discard)
                sent += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*running)


async def overload(posts: int, seconds: float) -> None:
    """Print what a reader answers under twice the load that it bears."""
    context = multiprocessing.get_context("spawn")
    told, tells = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(posts, tells), daemon=True)
    process.start()
    address = f"http://127.0.0.1:{await asyncio.to_thread(told.recv)}"
    url = f"{address}/v1/feeds/global"
    try:
        statuses = Counter[int]()
        await load(url, None, 3, statuses)
        statuses.clear()
        idle = await seen(address)
        await load(url, None, 10, statuses)
        before, asked = await seen(address), Counter(statuses)
        capacity = asked[200] / 10
        statuses.clear()
        await load(url, 2 * capacity, seconds, statuses)
        after = await seen(address)
    finally:
        process.kill()
    served = statuses[200] / seconds
    print(f"capacity {capacity:.0f} pages a second; asked for twice as many for {seconds:g} s:")
    print(f"{served:.0f} a second, {served / capacity:.2f} of it; {dict(statuses)}")
    print(
        f"longest in the queue {after[0] * 1000:.1f} ms, records late by {after[1]:.2f} s at most"
    )
    page_s = (before[3] - idle[3]) / asked[200]
    shed_s = (after[3] - before[3] - statuses[200] * page_s) / max(1, statuses[503])
    print(f"processor: {page_s * 1000:.2f} ms an answer, {shed_s * 1000:.2f} ms a request shed")
    print(f"memory {before[2]:.0f} MiB before, {after[2]:.0f} MiB after")


async def seen(address: str) -> list[float]:
    """What the served process says of itself."""
    async with aiohttp.ClientSession() as session, session.get(f"{address}/metrics") as answer:
        return [float(word) for word in (await answer.text()).split()]


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", choices=("pages", "memory", "overload"))
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(describe())
    if given.only in (None, "pages"):
        pages(given.posts)
    if given.only in (None, "memory"):
        memory(given.posts)
    if given.only in (None, "overload"):
        asyncio.run(overload(min(given.posts, 100_000), given.seconds))


if __name__ == "__main__":
    main()
