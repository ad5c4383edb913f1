"""How long any call of the combiner holds a loop, with millions of posts and ten thousand feeds.

    python benchmarks/bench_calls.py [--posts 10000000] [--feeds 10000] [--only settings]

Each kind of event is driven as the engine does it: calls that are told to stop after 8 ms of
processor time (5 ms for making changes) until nothing is left, or for `--most` of them once there
are all feeds.  Shown is
the longest call in milliseconds of processor, with the functions that took most of it, and how many
calls there were.  Nothing is written to Redis.  Ten million posts take some 4 GB and some minutes.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import large_view
import numpy as np
from bench_ranking import CHANGES_S, WORK_S
from large_view import (
    FOUND,
    NOW_MS,
    POSTS_OF_AUTHOR,
    WRITTEN,
    author_id,
    filled,
    group_of_feed,
    post_id,
    records_of,
    settings_of,
)
from machine import describe

from feedmill.events.decode import encode
from feedmill.events.override import Override, OverrideKey
from feedmill.events.partition import ALL_SHARDS, SHARDS, murmur2, shard_of
from feedmill.events.post import Deletion
from feedmill.events.settings import SettingsDraft
from feedmill.events.signal import Signal
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.feed_build import FeedBuild
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_places import FeedAuthors
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import PolicyCache
from feedmill.rankers.combiner.feed_set import FeedSet
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.live_feeds import LiveFeeds
from feedmill.rankers.combiner.overrides import OverriddenRows, OverrideTable
from feedmill.rankers.combiner.pending_writes import MAX_TOMBSTONES, PendingWrites
from feedmill.rankers.combiner.row_passes import lacking
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.ranking.feed_freshness import FeedFreshness, FeedRenewals
from feedmill.streams.worker.heap import settle_memory
from feedmill.tables.sweep import Sweep

BAR_MS = 20.0
SETTINGS_AT_ONCE = 1000  # as `SettingsLog` reads them
_WATCHED = (
    *(Combiner, PostView, LiveFeeds, FeedBuild, FeedMatcher, FeedAuthors, FeedRanking, FeedSet),
    *(PolicyCache, GateDecisions, OverriddenRows, OverrideTable, PendingWrites, Sweep),
)
# Called for each row or feed: to time them would be most of the time.
_SMALL = {"row_of", "author_of", "update_post", "update_signal", "spec_of", "grow", "feeds_of"}
_SMALL |= {"count", "names_of", "is_on_demand", "mark_feed", "scores", "takes", "rank", "change"}
_SMALL |= {"is_overridden", "holds", "clear_signal", "update", "overrides_of", "on_demand_of"}
_SMALL |= {"in_force", "has", "follow", "renewal", "note", "mark", "factor_of", "factors", "new"}
_SMALL |= {"drop_old", "decisions", "replace", "leave", "in_window"}
_KEPT = {"update_posts", "__init__"}


class Longest:
    """The longest of some calls, and what took most of it."""

    def __init__(self) -> None:
        self.ms = 0.0
        self.calls = 0
        self._named = ""
        self._inner: list[tuple[float, str]] = []

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Call it, timed."""
        self._inner = []
        start = time.thread_time()
        result = call()
        took_ms = (time.thread_time() - start) * 1e3
        self.calls += 1
        if took_ms > self.ms:
            self.ms = took_ms
            inner = sorted(self._inner, reverse=True)
            most = [f"{what} {ms:.0f}" for ms, what in inner if ms > took_ms / 3][:4]
            self._named = " < ".join([name, *most])
        return result

    def note(self, ms: float, what: str) -> None:
        """A call within took so long."""
        if ms > 1:
            self._inner.append((ms, what))

    def __str__(self) -> str:
        over = " OVER" if self.ms > BAR_MS else ""
        return f"{self.ms:9.1f}{self.calls:8,}  {self._named}{over}"


class Driver:
    """A combiner, and the loop around it."""

    def __init__(self, combiner: Combiner, posts: int, most: int) -> None:
        self.combiner, self.posts, self.most = combiner, posts, most
        self.random, self.now_ms = Random(5), NOW_MS
        self.longest = Longest()
        self._watch()
        gc.callbacks.append(self._collects)

    @contextmanager
    def kind(self, name: str) -> Iterator[Longest]:
        """An event of this kind, and all that follows; print its longest call."""
        self.longest = Longest()
        yield self.longest
        self.settle()
        print(f"{name:<34}{self.longest}", flush=True)

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        return self.longest.run(name, call)

    def settle(self) -> None:
        """Work and take changes in turn until nothing is left, or for `most` calls."""
        combiner, calls = self.combiner, 0
        while calls < self.most:
            calls += 1
            more = self.run("work", lambda: combiner.work(self.now_ms, within(WORK_S)))
            if not more and not combiner.has_changes:
                return
            self.run("take", lambda: combiner.take(self.now_ms, within(CHANGES_S)))
            if more is False and combiner.is_rewriting and calls > self.most // 4:
                # The rest counts as written: it is the same for every slice of rows.
                combiner._pending._masks.values[:] = 0
                combiner._pending._swept.clear()

    def set(self, settings: Sequence[tuple[str, dict[str, object] | None]]) -> None:
        """Fold settings as records that come, and follow them as the step does."""
        combiner = self.combiner
        for start in range(0, len(settings), SETTINGS_AT_ONCE):
            self.run("fold", partial(self._fold, settings[start : start + SETTINGS_AT_ONCE]))
        if not self.run("work", lambda: combiner.work(self.now_ms, within(WORK_S))):
            self.run("take", lambda: combiner.take(self.now_ms, within(CHANGES_S), only_whole=True))

    def _fold(self, settings: Sequence[tuple[str, dict[str, object] | None]]) -> None:
        draft = SettingsDraft(self.combiner.settings)
        for at, (key, value) in enumerate(settings, self.combiner.settings.offset + 1):
            draft.fold(key.encode(), encode({"value": value}), at)
        self.combiner.apply(draft.settings())

    def tick(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.run("tick", lambda: self.combiner.tick(self.now_ms))

    def some(self, count: int) -> list[int]:
        return [self.random.randrange(min(self.posts, FOUND)) for _ in range(count)]

    def _collects(self, phase: str, info: dict[str, int]) -> None:
        """Python's collector stops and goes."""
        if phase == "start":
            self._collect_start = time.thread_time()
        else:
            took_ms = (time.thread_time() - self._collect_start) * 1e3
            self.longest.note(took_ms, f"collector {info['generation']}")

    def _watch(self) -> None:
        for owner in _WATCHED:
            for name, call in list(vars(owner).items()):
                is_kept = callable(call) and (not name.startswith("__") or name in _KEPT)
                if is_kept and name not in _SMALL and not isinstance(call, property | type):
                    setattr(owner, name, self._timed(call, f"{owner.__name__}.{name}"))

    def _timed(self, call: Any, what: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            result = call(*arguments, **options)
            self.longest.note((time.thread_time() - start) * 1e3, what)
            return result

        return timed


def within(seconds: float) -> Callable[[], bool]:
    """As the step asks for time: by the processor."""
    end = time.thread_time() + seconds
    return lambda: time.thread_time() < end


def signals(numbers: Iterable[int], name: str, value: float) -> list[Signal]:
    return [
        Signal(post_id(n), n, float(np.float32(value)), name, "2", NOW_MS, revision=n)
        for n in numbers
    ]


def records(driver: Driver) -> None:
    """Events of posts, in cycles of a slice."""
    view = driver.combiner.view
    with driver.kind("1,000 signals of engagement"):
        for value in (0.5, 0.01):
            slice_ = signals(driver.some(1000), "engagement", value)
            driver.run("read", partial(view.update_signals, "engagement", slice_))
            driver.settle()
    with driver.kind("1,000 posts are hidden"):
        hidden = signals(driver.some(1000), "spam", 0.99)
        driver.run("read", partial(view.update_signals, "spam", hidden))
    with driver.kind("500 new posts"):
        first = driver.posts
        drawn = {name: np.full(1, 0.01, np.float32) for name in WRITTEN}
        new = [records_of(first + i, driver.now_ms, drawn, at=0) for i in range(500)]
        posts = [post for post, _ in new]
        times = [driver.now_ms] * 500
        offsets = range(first, first + 500)
        driver.run("read", partial(view.update_posts, posts, offsets, times))
        for name in WRITTEN:
            driver.run("read", partial(view.update_signals, name, [s[name] for _, s in new]))
    with driver.kind("500 posts are deleted"):
        gone = [Deletion(post_id(n), deleted=True) for n in driver.some(500)]
        driver.run("read", partial(view.update_posts, gone, [driver.posts + 1000] * 500, times))
    with driver.kind("signals before their posts"):
        for start in range(0, 120_000, 1000):
            early = signals(range(20_000_000 + start, 20_001_000 + start), "quality", 0.5)
            driver.run("read", partial(view.update_signals, "quality", early))
        driver.settle()


def overrides(driver: Driver) -> None:
    view, busy = driver.combiner.view, author_id(0)
    hide = Override("hide", "m", "r", NOW_MS)
    with driver.kind("an override of a post"):
        key = OverrideKey("post", post_id(driver.some(1)[0]), "*")
        driver.run("read", partial(view.update_override, key, hide))
    with driver.kind("an override of an author"):
        key = OverrideKey("author", busy, "*")
        driver.run("read", partial(view.update_override, key, hide))
    with driver.kind("... is withdrawn"):
        driver.run("read", partial(view.update_override, key, None))
    with driver.kind("10,000 overrides run out"):
        short = Override("hide", "m", "r", NOW_MS, expires_at_ms=driver.now_ms + 500)
        for number in driver.some(10_000):
            view.update_override(OverrideKey("post", post_id(number), "*"), short)
        driver.settle()
        driver.tick(1000)


def settings(driver: Driver) -> None:
    """Settings, one by one and many together."""
    cases: dict[str, list[tuple[str, dict[str, object] | None]]] = {
        "feeds/f7": [("feeds/f7", {"size": 40, "match": {"communities": ["c1"]}})],
        "feeds/community:*": [("feeds/community:*", {"size": 300})],
        "feeds/global": [("feeds/global", {"window_hours": 160})],
        "weights/f9": [("weights/f9", {"quality": 1, "engagement": 0})],
        "weights/global": [("weights/global", {"quality": 1, "engagement": 0})],
        "weights": [("weights", {"quality": 0.7, "engagement": 0.3})],
        "gates": [("gates", {"spam": {"hide_at": 0.3}})],
        "gates, open": [("gates", {"spam": {"on_failure": "open", "grace_s": 60}})],
        "5,000 feeds go": [(f"feeds/f{i}", None) for i in range(5_000)],
        "5,000 feeds come": [(f"feeds/f{i}", _feed(f"f{i}", size=50)) for i in range(5_000)],
        "a longer window": [("feeds/global", {"window_hours": 400})],
    }
    for name, records_ in cases.items():
        with driver.kind(name):
            driver.set(records_)


def _feed(name: str, **fields: object) -> dict[str, object]:
    """The setting of one of the many feeds."""
    group = group_of_feed(int(name[1:]))
    return {**fields, "match": {"communities": group.communities, "langs": [group.lang]}}


def clock(driver: Driver) -> None:
    combiner = driver.combiner
    with driver.kind("a tick"):
        driver.tick(1000)
    with driver.kind("a tick after three hours"):
        driver.tick(3 * 3_600_000)
    with driver.kind("a flush"):
        driver.run("rewrite_all", combiner.rewrite_all)
    with driver.kind("each second"):
        driver.run("decisions", combiner.decisions)
        found = lacking(combiner.view, WRITTEN, driver.now_ms)
        while driver.run("lacking", lambda: next(found, found)) is None:
            pass
    renew(driver)


def renew(driver: Driver) -> None:
    """Renew feeds as the handover does."""
    renewals, freshness = FeedRenewals(), FeedFreshness(8, "i")
    combiner = driver.combiner

    def once() -> None:
        due = renewals.due(combiner.feeds, 100.0)
        changes = combiner.renewals(due)
        assert changes
        assert not {one.feed for one in changes if freshness.is_fresh(one)}

    with driver.kind("feeds are renewed"):
        renewals.hurry()
        driver.run("renew", once)


def shards(driver: Driver) -> None:
    """Shards go and come back, after many posts were removed, whose hashes are known no more."""
    combiner, half = driver.combiner, frozenset(range(0, SHARDS, 2))
    ends_ms = {f"gone-{i:015d}": driver.now_ms + 3_600_000 for i in range(MAX_TOMBSTONES)}
    combiner._pending.remove(np.empty(0, np.int32), ends_ms, driver.now_ms)
    for name, left in (("half of", half), ("all of", frozenset[int]())):
        shard_of.cache_clear()
        murmur2.cache_clear()
        with driver.kind(f"{name} the shards go"):
            driver.run("own", partial(combiner.own, left))
        with driver.kind("... and come back"):
            driver.run("own", lambda: combiner.own(ALL_SHARDS))


def ends(driver: Driver) -> None:
    """What leaves little behind."""
    combiner, view = driver.combiner, driver.combiner.view
    for i in range(40_000):
        view.authors.add(f"nobody-{i:013d}")
    with driver.kind("authors without posts are forgotten"):
        view.pruning._kept = 0
        driver.tick(1000)
    with driver.kind("a third of a million posts expires"):
        driver.set([("feeds/global", {"window_hours": 100})])
        names = ("community:*", "lang:*")
        driver.set([(f"feeds/{name}", {"window_hours": 100}) for name in names])
        named = [name for name in combiner.settings.named_feeds if name != "global"]
        driver.set([(f"feeds/{name}", _feed(name, window_hours=100)) for name in named])
        driver.settle()
        driver.tick(1000)
    with driver.kind("the clock goes back"):
        # Last: until all posts are ranked again `work` does nothing else.
        driver.tick(-60_000)


KINDS = {one.__name__: one for one in (clock, records, overrides, settings, shards, ends)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--feeds", type=int, default=10_000, help="declared beside the others")
    parser.add_argument("--most", type=int, default=20_000, help="calls of a kind")
    parser.add_argument("--only", choices=KINDS, action="append", help="these kinds of events")
    given = parser.parse_args()
    print(describe())
    large_view.check()
    combiner, _ = filled(given.posts)
    # One author has a fiftieth of all posts.
    combiner.view.post.author[: given.posts // 50 // POSTS_OF_AUTHOR * POSTS_OF_AUTHOR] = 0
    settle_memory()  # as a worker does
    driver = Driver(combiner, given.posts, most=1_000_000)
    heading = f"the longest, and what took most of it (bar: {BAR_MS:.0f} ms)"
    print(f"{'':<34}{'ms':>9}{'calls':>8}  {heading}")
    with driver.kind("the end of a restore"):
        driver.set([])
        combiner.is_restoring = True
        driver.run("is_restoring", lambda: setattr(combiner, "is_restoring", False))
    with driver.kind("10,000 feeds come"):
        settings_ = settings_of(given.feeds, combiner.settings)
        driver.run("apply", lambda: combiner.apply(settings_))
    driver.most = given.most
    for name in given.only or KINDS:
        KINDS[name](driver)


if __name__ == "__main__":
    main()
