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
from collections.abc import Iterable
from functools import partial

import large_view
import numpy as np
from call_driver import BAR_MS, Driver
from large_view import (
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

from feedmill.events.experiment import MAX_ARMS
from feedmill.events.override import Override, OverrideKey
from feedmill.events.partition import ALL_SHARDS, SHARDS, murmur2, shard_of
from feedmill.events.post import Deletion
from feedmill.events.signal import Signal
from feedmill.rankers.combiner.pending_writes import MAX_TOMBSTONES
from feedmill.rankers.combiner.row_passes import lacking
from feedmill.streams.ranking.feed_freshness import FeedFreshness, FeedRenewals
from feedmill.streams.worker.heap import settle_memory

_EVEN = {"quality": 0.5, "engagement": 0.5}


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


def policies(driver: Driver) -> None:
    """Settings that have posts decided and scored anew."""
    driver.set_each(
        {
            "weights/f9": [("weights/f9", {"quality": 1, "engagement": 0})],
            "gates/f9": [("gates/f9", {"spam": {"hide_at": 0.2}})],
            "weights/global": [("weights/global", {"quality": 1, "engagement": 0})],
            "weights": [("weights", {"quality": 0.7, "engagement": 0.3})],
            "weights, half-life": [("weights", {**_EVEN, "half_life_hours": 12})],
            "weights, author cap": [("weights", {**_EVEN, "max_per_author": 1})],
            "gates": [("gates", {"spam": {"hide_at": 0.3}})],
            "gates, open": [("gates", {"spam": {"on_failure": "open", "grace_s": 60}})],
            "gates, a filter off": [("gates", {"nsfw": {"enabled": False}})],
            "gates, a filter in shadow": [("gates", {"nsfw": {"shadow": True}})],
            "weights and gates are removed": [("weights", None), ("gates", None)],
        }
    )


def arms(driver: Driver) -> None:
    """An experiment with as many arms as there may be."""
    arms_ = [
        {"name": f"a{i}", "share": 1250, "weights": {"quality": 0.03 * (i + 1)}}
        for i in range(MAX_ARMS)
    ]
    arms_[0]["weights"] = {}
    value = {"arms": arms_, "feeds": ["global", "f3"], "salt": "s", "planned_n": 1000}
    driver.set_each(
        {
            "an experiment begins": [("experiments/one", value)],
            "... and ends": [("experiments/one", {**value, "stopped": True})],
        }
    )


def settings(driver: Driver) -> None:
    """Settings of feeds, one by one and many together."""
    cases: dict[str, list[tuple[str, dict[str, object] | None]]] = {
        "feeds/f7": [("feeds/f7", {"size": 40, "match": {"communities": ["c1"]}})],
        "feeds/f8, of authors": [("feeds/f8", {"match": {"authors": [author_id(0)]}})],
        "feeds/community:*": [("feeds/community:*", {"size": 300})],
        "feeds/global": [("feeds/global", {"window_hours": 160})],
        "5,000 feeds go": [(f"feeds/f{i}", None) for i in range(5_000)],
        "5,000 feeds come": [(f"feeds/f{i}", _feed(f"f{i}", size=50)) for i in range(5_000)],
        "a longer window": [("feeds/global", {"window_hours": 400})],
    }
    driver.set_each(cases)


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


KINDS = {
    one.__name__: one for one in (clock, records, overrides, policies, arms, settings, shards, ends)
}


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
