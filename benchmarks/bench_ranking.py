"""What one event costs by the number of live posts, and how long work on all of them holds a loop.

    python benchmarks/bench_ranking.py [--sizes 10000,1000000] [--events 2000] [--feeds 10000]

Posts are in three feeds each: `global`, one of ten languages, one of a thousand communities.  An
event is what one cycle of the engine gives the combiner: its records, ranking, the changes to
write.  The work on all posts is done as the engine does it, in calls that are told to stop after
8 ms (5 ms for making changes); the longest of them is shown, and how long all took together.
Nothing is written to Redis.  Before anything is timed, `global` is compared with sorting all.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import numpy as np
from machine import describe

from feedmill.events.decode import encode
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import SettingsDraft
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner import Combiner

NAMES = SignalNames()
NOW_MS = 1_790_000_000_000
WORK_S, CHANGES_S = 0.008, 0.005
RECORDS = 1_000  # of a restore, between two slices of work


class Calls:
    """Times calls; the longest is what holds a loop.

    By the clock, and by the processor: other programs on the machine count in the former alone.
    """

    def __init__(self) -> None:
        self.longest_s = self.longest_cpu_s = self.total_s = 0.0

    def run(self, work: Callable[[], object]) -> None:
        start, cpu = time.perf_counter(), time.thread_time()
        work()
        seconds, cpu_s = time.perf_counter() - start, time.thread_time() - cpu
        self.longest_s = max(self.longest_s, seconds)
        self.longest_cpu_s = max(self.longest_cpu_s, cpu_s)
        self.total_s += seconds

    def __str__(self) -> str:
        return f"{self.longest_s * 1e3:9.1f}{self.longest_cpu_s * 1e3:7.1f}{self.total_s:8.2f}"


class Engine:
    """A combiner, and what feeds it."""

    def __init__(self, posts: int) -> None:
        self.combiner = Combiner(NAMES)
        self.random = Random(7)
        self.count = posts
        self.is_done = False

    def post(self, number: int) -> None:
        """A post with all its signals."""
        random, view = self.random, self.combiner.view
        post_id = f"post-{number:015d}"
        one = Post(
            post_id,
            f"author-{number // 3:013d}",
            NOW_MS - random.randrange(150 * 3_600_000),
            "",
            lang=f"l{number % 10}",
            communities=(f"c{random.randrange(1000)}",),
        )
        view.update_post(one, number, NOW_MS)
        for name in NAMES.all:
            self.signal(name, number, random.betavariate(1, 12))

    def signal(self, name: str, number: int, value: float) -> None:
        value = float(np.float32(value))
        signal = Signal(f"post-{number:015d}", number, value, name, "1", NOW_MS)
        self.combiner.view.update_signal(name, signal)

    def some_post(self) -> int:
        return self.random.randrange(self.count)

    def delete(self, number: int) -> None:
        deletion = Deletion(f"post-{number:015d}", deleted=True)
        self.combiner.view.update_post(deletion, number + 1, NOW_MS)

    def work(self) -> None:
        self.is_done = not self.combiner.work(NOW_MS, within(WORK_S))

    def take(self) -> None:
        self.combiner.take(NOW_MS, within(CHANGES_S))

    def settle(self, calls: Calls) -> float:
        """Work and take changes in turn until nothing is left; when the last feed was taken."""
        feeds_s = 0.0
        self.is_done = False
        while not self.is_done or self.combiner.has_changes:
            calls.run(self.work)
            if self.is_done:
                calls.run(self.take)
                if self.combiner.has_feed_changes or not feeds_s:
                    feeds_s = calls.total_s
        return feeds_s

    def declare(self, feeds: int) -> None:
        """So many feeds beside the others, each of a community and a language."""
        draft = SettingsDraft(self.combiner.settings)
        for i in range(feeds):
            match = {"communities": [f"c{i % 1000}"], "langs": [f"l{i % 10}"]}
            draft.fold(f"feeds/f{i}".encode(), encode({"value": {"size": 50, "match": match}}), i)
        self.combiner.apply(draft.settings())

    def set(self, key: str, value: dict[str, object]) -> None:
        settings = self.combiner.settings
        record = encode({"value": value})
        self.combiner.apply(settings.fold(key.encode(), record, settings.offset + 1))


def within(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


def restore(engine: Engine) -> Calls:
    """Read all posts; only what the combiner does between the reads is timed."""
    calls, combiner = Calls(), engine.combiner
    combiner.is_restoring = True
    for number in range(engine.count):
        engine.post(number)
        if number % (RECORDS // 6) == 0:
            calls.run(lambda: combiner.rank_changes(NOW_MS, within(WORK_S)))
    while combiner.rank_changes(NOW_MS, within(WORK_S)):
        pass
    combiner.is_restoring = False
    return calls


def check(combiner: Combiner, now_ms: int = NOW_MS) -> None:
    """`global` is what sorting all posts gives."""
    ranking, view = combiner.ranking("global"), combiner.view
    rows = view.live_rows()
    is_shown = ranking.scores.score.values[rows] > -np.inf
    rows = rows[is_shown & ranking.in_window(rows, now_ms)]
    scores = ranking.scores.score.values[rows].tolist()
    by_score = sorted(zip(scores, map(view.ids.__getitem__, rows.tolist()), strict=True))
    of_author: Counter[str] = Counter()
    best: list[tuple[str, float]] = []
    while by_score and len(best) < ranking.spec.size:
        score, post_id = by_score.pop()
        row = view.row_of(post_id)
        assert row is not None
        author = view.author_of(row)
        of_author[author] += 1
        if of_author[author] <= 3:
            best.append((post_id, score))
    ours, our_scores = ranking.list.best()
    shown = zip(view.ids.read_many(ours), our_scores.tolist(), strict=True)
    assert list(shown) == best, "not the best posts"


def event_costs(engine: Engine, events: int) -> dict[str, float]:
    """Median seconds of each kind of event, with the changes to write."""
    engine.random.seed(9)

    def cycle() -> None:
        engine.combiner.work(NOW_MS)
        engine.combiner.take(NOW_MS)

    def new() -> None:
        engine.count += 1
        engine.post(engine.count - 1)

    def engagement() -> None:
        engine.signal("engagement", engine.some_post(), engine.random.random())

    def hide() -> None:
        engine.signal("spam", engine.some_post(), 0.95)

    def delete() -> None:
        engine.delete(engine.some_post())

    seconds: dict[str, list[float]] = {}
    for _ in range(events):
        for event in (new, engagement, hide, delete):
            start = time.perf_counter()
            event()
            cycle()
            seconds.setdefault(event.__name__, []).append(time.perf_counter() - start)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def measure(posts: int, events: int, feeds: int) -> dict[str, float]:
    engine = Engine(posts)
    engine.declare(feeds)
    start = time.perf_counter()
    calls = restore(engine)
    print(f"{posts:>9,}  restored in {time.perf_counter() - start:.0f} s, following {calls}")
    gc.collect()
    gc.freeze()
    combiner = engine.combiner
    print(f"{'':>9}  {'':<26}{'longest':>9}{'cpu':>7}{'all s':>8}{'feeds s':>9}   (bar: 20 ms)")

    def show(what: str, begin: Callable[[], object]) -> None:
        calls = Calls()
        calls.run(begin)
        feeds_s = engine.settle(calls)
        print(f"{'':>9}  {what:<26}{calls}{feeds_s:9.2f}", flush=True)

    show("a takeover, or a flush", combiner.rewrite_all)
    check(combiner)
    show("a tick", lambda: combiner.tick(NOW_MS + 1000))
    show("feeds/community:*", lambda: engine.set("feeds/community:*", {"size": 300}))
    if feeds:
        show("feeds/f7, of many", lambda: engine.set("feeds/f7", {"size": 40}))
    show("feeds/global", lambda: engine.set("feeds/global", {"window_hours": 100}))
    show("weights", lambda: engine.set("weights", {"quality": 0.7, "engagement": 0.3}))
    show("weights/global", lambda: engine.set("weights/global", {"quality": 1, "engagement": 0}))
    show("gates", lambda: engine.set("gates", {"spam": {"hide_at": 0.3}}))
    check(combiner)
    costs = event_costs(engine, events)
    check(combiner)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="10000,1000000")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--feeds", type=int, default=0, help="declared beside the others")
    options = parser.parse_args()
    print(describe())
    sizes = map(int, options.sizes.split(","))
    costs = [measure(size, options.events, options.feeds) for size in sizes]
    print("an event, median µs by size, and the last by the first (bar: 1.5):")
    for name in costs[0]:
        each = [cost[name] * 1e6 for cost in costs]
        values = "".join(f"{value:>9.0f}" for value in each)
        print(f"  {name:<12}{values}{each[-1] / each[0]:>8.2f}")


if __name__ == "__main__":
    main()
