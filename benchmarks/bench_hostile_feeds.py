"""What hostile posts and many overrides cost the combiner: invented communities, authors, ties.

    python benchmarks/bench_hostile_feeds.py [--posts 200000] [--invented 6500] [--overrides 20000]

Beside so many live posts, each in `global`, one of ten languages and one of a thousand communities:

- `--invented` posts of one author with 16 communities each come in batches of 100, with the work of
  the engine between them.  Then ten authors post in one more community, and the others are deleted.
- `--overrides` overrides of authors come in reads of 2,000, and their posts are decided and ranked.
- 20,000 posts are decided again while one override is there.
- A second passes while there are 300,000 overrides that will run out.
- A post comes among ties in a feed of 10,000.

Run it on the commit before, too, and compare: the figures are milliseconds of the processor.  Each
answer is checked before its figure is printed.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from bench_ranking import NAMES, NOW_MS, Calls, Engine, restore
from machine import describe

from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.rankers.combiner.ranked_list import RankedList

COMMUNITIES = 16
AT_ONCE = 100
READ = 2_000
TIED = 10_000


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return (time.thread_time() - start) * 1e3


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def line(what: str, value: object, more: str = "") -> None:
    print(f"  {what:<58}{value:>12}  {more}", flush=True)


class Floods:
    """An engine with ordinary posts, and what comes beside them."""

    def __init__(self, posts: int) -> None:
        self.engine = Engine(posts)
        self.combiner = self.engine.combiner
        self.view = self.combiner.view
        restore(self.engine)
        # Beside the thousand ordinary communities there are a hundred places.
        self.engine.set("feeds/community:*", {"max_feeds": 1100})
        self.engine.settle(Calls())
        self.seconds = 0
        gc.collect()

    def show(self, post_id: str, author: str, communities: Iterable[str], offset: int = 1) -> None:
        one = Post(post_id, author, NOW_MS, "", communities=tuple(communities))
        self.view.update_post(one, offset, NOW_MS)
        for name in NAMES.all:
            value = 0.05 if name in NAMES.gates else 0.5
            self.view.update_signal(name, Signal(post_id, offset, value, name, "1", NOW_MS))

    def tick(self, calls: Calls) -> None:
        self.seconds += 1
        calls.run(lambda: self.combiner.tick(NOW_MS))
        self.engine.settle(calls)

    def seconds_until(self, feed: str, calls: Calls) -> str:
        """How many ticks it takes until a feed is there."""
        for ticks in range(6):
            if feed in self.combiner.feeds:
                return f"{ticks} ticks"
            self.tick(calls)
        return "never"


def invented(floods: Floods, posts: int) -> None:
    calls, before_mb, view = Calls(), memory_mb(), floods.view
    for start in range(0, posts, AT_ONCE):
        for i in range(start, min(start + AT_ONCE, posts)):
            names = (f"invented{COMMUNITIES * i + n}" for n in range(COMMUNITIES))
            floods.show(f"spam{i:06}", "spammer", names)
        floods.engine.settle(calls)
        if start % 1000 == 0:
            floods.tick(calls)
    line("invented: all work, s", f"{calls.total_s:.1f}")
    line("invented: longest call, ms", f"{calls.longest_cpu_s * 1e3:.1f}")
    line(
        "invented: memory, MB",
        f"{memory_mb() - before_mb:.0f}",
        f"{len(floods.combiner.feeds):,} feeds",
    )
    calls = Calls()
    for n in range(10):
        floods.show(f"mend{n}", f"mender{n}", ["menders"])
    floods.engine.settle(calls)
    line("ten authors: their feed is there after", floods.seconds_until("community:menders", calls))
    line("ten authors: longest call, ms", f"{calls.longest_cpu_s * 1e3:.1f}")
    calls = Calls()
    for i in range(posts):
        view.update_post(Deletion(f"spam{i:06}", deleted=True), 2, NOW_MS)
        if i % AT_ONCE == 0:
            floods.engine.settle(calls)
    floods.engine.settle(calls)
    floods.tick(calls)
    line("deleted: longest call, ms", f"{calls.longest_cpu_s * 1e3:.1f}")
    floods.show("emptied", "somebody", ["invented7"])
    floods.engine.settle(calls)
    after = floods.seconds_until("community:invented7", calls)
    line("deleted: one that emptied is there again after", after)


def override(floods: Floods, author: str, ends_ms: int | None = None) -> None:
    key = OverrideKey("author", author, "*")
    floods.view.update_override(key, Override("hide", "mo", "", NOW_MS, ends_ms))


def overridden(floods: Floods, count: int) -> None:
    combiner, decisions = floods.combiner, floods.combiner._default
    authors = [f"author-{number:013d}" for number in range(count)]
    took_ms = cpu_ms(partial(override_all, floods, authors[:1]))
    took_ms += cpu_ms(lambda: combiner.follow(NOW_MS))
    line("one override of an author and its posts, ms", f"{took_ms:.2f}")
    floods.engine.settle(Calls())
    rows = floods.view.live_rows()[-20_000:]
    took_ms = cpu_ms(lambda: decisions.update(rows, NOW_MS))
    line("20,000 other posts decided beside it, ms", f"{took_ms:.1f}")
    calls = Calls()
    for start in range(0, count, READ):
        part = authors[start : start + READ]
        calls.run(partial(override_all, floods, part))
        calls.run(lambda: combiner.follow(NOW_MS, lambda: False))
    floods.engine.settle(calls)
    hidden = combiner.decisions()["hide"]
    assert hidden >= min(3 * count, floods.engine.count), hidden
    line(f"{count:,} of them: all work, s", f"{calls.total_s:.1f}", f"{hidden:,} posts hidden")
    line(f"{count:,} of them: longest call, ms", f"{calls.longest_cpu_s * 1e3:.1f}")
    for number in range(300_000):
        override(floods, f"unknown-{number}", NOW_MS + 1_000_000)
    took_ms = cpu_ms(lambda: combiner.tick(NOW_MS))
    line("a tick beside 300,000 that will run out, ms", f"{took_ms:.1f}")


def override_all(floods: Floods, authors: Iterable[str]) -> None:
    for author in authors:
        override(floods, author)


def ties() -> None:
    """A post that comes among ties, beside one that comes where none are."""
    ids = [f"{number:08}" for number in range(2 * TIED)]
    rows = np.arange(0, 2 * TIED, 2, dtype=np.int32)
    for what, of_ties in (("ties", 1.0), ("other scores", None)):
        ranked = RankedList(TIED, None, ids)
        scores = rows / 2.0 if of_ties is None else np.full(TIED, of_ties)
        ranked.update(rows, scores, rows)
        coming = range(1, 2 * TIED, 20)
        took_ms = cpu_ms(partial(come, ranked, coming, of_ties))
        assert len(ranked) == TIED + len(coming)
        line(f"a post among {TIED:,} {what}, ms", f"{took_ms / len(coming):.3f}")


def come(ranked: RankedList, rows: Iterable[int], score: float | None) -> None:
    for row in rows:
        ranked.update_one(row, row / 2.0 if score is None else score, row)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--invented", type=int, default=6_500)
    parser.add_argument("--overrides", type=int, default=20_000)
    options = parser.parse_args()
    print(describe())
    floods = Floods(options.posts)
    invented(floods, options.invented)
    overridden(floods, options.overrides)
    ties()


if __name__ == "__main__":
    main()
