"""Feeds are made anew beside the old ones, in slices."""

import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from builders.events import HOUR_MS, NOW_MS, override
from builders.ranked_posts import HIDDEN, Posts
from feedmill.events import partition
from feedmill.events.override import OverrideKey
from feedmill.events.partition import ALL_SHARDS, SHARDS, murmur2, shard_of
from feedmill.rankers.combiner import feed_matcher, feed_ranking, feed_set, live_feeds
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.feed_set import FeedSet
from feedmill.rankers.combiner.live_feeds import LiveFeeds

# Scores are the logarithm of the objectives alone.
PLAIN = {"costs": {"hide": 0, "report": 0}, "half_life_hours": None}


@pytest.fixture
def posts() -> Posts:
    made = Posts()
    for i in range(20):
        made.add(f"p{i}", quality=(i + 1) / 32, communities=(f"c{i % 2}",), lang="en")
    made.settle()
    return made


# --- settings switch feeds all at once ------------------------------------------------------


def test_until_all_new_scores_are_there_the_old_ones_stay(posts: Posts) -> None:
    before = dict(posts.feeds["global"])
    posts.set("weights", {"quality": 1, "engagement": 0, **PLAIN})
    seen = []

    def between(_: int) -> None:
        posts.take()
        seen.append(dict(posts.feeds["global"]))

    assert posts.work_in_parts(between) > 5
    after = posts.settle()["global"]
    assert after["p3"] == pytest.approx(-3.0)
    assert before != after
    assert seen[0] == before
    assert all(one in (before, after) for one in seen)


def test_a_feed_that_begins_while_new_rates_apply_has_the_new_scores(posts: Posts) -> None:
    posts.set("rates", {"report": {"base": 0.5, "strength": 100}})

    def between(part: int) -> None:
        if part == 1:
            posts.add("late", quality=1.0, communities=("new",))

    assert posts.work_in_parts(between) > 1
    feeds = posts.settle()
    assert feeds["community:new"]["late"] == pytest.approx(feeds["global"]["late"])


@pytest.mark.parametrize("how", ["delete", "hide", "override", "expire"])
def test_removals_apply_at_once_while_feeds_are_made_anew(posts: Posts, how: str) -> None:
    posts.set("weights", {"quality": 1, "engagement": 0, **PLAIN})
    gone: list[bool] = []

    def between(part: int) -> None:
        if part == 2 and how == "delete":
            posts.delete("p7")
        elif part == 2 and how == "hide":
            posts.signal("spam", "p7", HIDDEN)
        elif part == 2 and how == "override":
            posts.combiner.view.update_override(OverrideKey("post", "p7", "*"), override("hide"))
        elif part == 2:
            posts.add("p7", created_at_ms=NOW_MS - 200 * HOUR_MS)
        elif part > 2:
            posts.take()
            gone.append("p7" not in posts.feeds["global"])

    posts.work_in_parts(between)
    assert gone
    assert all(gone)
    feeds = posts.settle()
    assert all("p7" not in feed for feed in feeds.values())
    assert feeds["global"]["p3"] == pytest.approx(-3.0)


@pytest.mark.parametrize("loses_shards", [False, True])
def test_settings_count_as_shown_once_all_feeds_were_replaced(
    posts: Posts, loses_shards: bool
) -> None:
    combiner = posts.combiner
    posts.set("weights", {"quality": 1, "engagement": 0, **PLAIN})
    claims = set[bool]()

    def between(_: int) -> None:
        if (
            loses_shards
            and combiner.settings_in_force is combiner.settings
            and combiner.shards == ALL_SHARDS
        ):
            combiner.own(ALL_SHARDS - {shard_of("community:c0")})
        posts.take()
        if not combiner.has_feed_changes:
            claims.add(
                all(
                    combiner.ranking(one).scores.weights.half_life_hours is None
                    for one in combiner.feeds
                )
            )

    posts.work_in_parts(between)
    between(0)
    assert claims == {True}


def test_fewer_posts_are_ranked_at_once_while_each_is_ranked_in_old_and_new_feeds() -> None:
    posts = Posts()
    for i in range(300):
        posts.add(f"p{i}")
    posts.settle()
    view = posts.combiner.view

    def ranked_at_once() -> int:
        view.touch(view.live_rows())
        posts.combiner.rank_changes(NOW_MS, lambda: False)
        return len(view) - len(view.changed)

    at_rest = ranked_at_once()
    posts.settle()
    posts.set("weights", {"quality": 1, "engagement": 0})
    assert all(posts.combiner.work(NOW_MS, lambda: False) for _ in range(3)), "feeds are made"
    meanwhile = ranked_at_once()
    posts.settle()
    assert 0 < 2 * meanwhile < at_rest == ranked_at_once()


def test_settings_that_change_again_meanwhile_are_followed_afterwards(posts: Posts) -> None:
    posts.set("weights", {"quality": 1, "engagement": 0, **PLAIN})

    def between(part: int) -> None:
        if part == 3:
            posts.set("weights", {"quality": 2, "engagement": 0, **PLAIN})

    posts.work_in_parts(between)
    assert posts.settle()["community:c1"]["p3"] == pytest.approx(-2.0)
    assert posts.combiner.settings_in_force is posts.combiner.settings


def test_a_setting_of_one_feed_leaves_the_others_alone(posts: Posts) -> None:
    ranking = posts.combiner.ranking("community:c1")
    posts.set("weights/global", {"quality": 1, "engagement": 0})
    posts.combiner.work(NOW_MS)
    assert [change.feed for change in posts.combiner.take(NOW_MS).feeds] == ["global"]
    assert posts.combiner.ranking("community:c1") is ranking


def test_a_list_that_is_short_is_made_anew() -> None:
    posts = Posts()
    posts.set("feeds/global", {"size": 5})
    for i in range(400):
        posts.add(f"p{i:03}", quality=(i + 1) / 512)
    posts.settle()
    for i in range(399, 99, -1):
        posts.signal("spam", f"p{i:03}", HIDDEN)
        if i % 7 == 0:
            best = sorted(posts.settle()["global"], reverse=True)
            assert best == [f"p{i - k:03}" for k in range(1, 6)]


def test_old_posts_are_looked_for_in_some_feeds_at_a_time(
    posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feeds, "_TICKED_FEEDS", 1)
    combiner, later_ms = posts.combiner, NOW_MS + 167 * HOUR_MS
    posts.set("feeds/community:c1", {"window_hours": 1})
    posts.settle()
    combiner.tick(later_ms)
    calls = 1
    while combiner.work(later_ms, lambda: False):
        calls += 1
    assert calls > len(combiner.feeds)
    posts.take()
    assert not posts.feeds["community:c1"]
    assert len(posts.feeds["community:c0"]) == 10


def test_many_settings_of_feeds_and_groups_are_looked_at_in_parts(
    posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_matcher, "_INDEXED_FEEDS", 4)
    monkeypatch.setattr(feed_set, "_GROUPS_AT_ONCE", 1)
    for i in range(30):
        posts.set(f"feeds/f{i}", {"match": {"communities": [f"c{i % 2}"]}})

    def between(part: int) -> None:
        if part == 2:  # before a feed is made
            posts.signal("spam", "p6", HIDDEN)
            posts.add("late", communities=("c1",), lang="en")

    assert posts.work_in_parts(between) > 30 // 4
    feeds = posts.settle()
    odd = {f"p{i}" for i in range(1, 20, 2)} | {"late"}
    assert all(set(feeds[f"f{i}"]) == odd for i in range(1, 30, 2))
    assert "p6" not in feeds["f0"]
    posts.set("weights/f1", {"quality": 1, "engagement": 0})
    assert posts.work_in_parts(lambda _: None) > len(posts.combiner.view.groups)
    assert set(posts.settle()["f1"]) == odd


def test_settings_are_compared_with_some_feeds_at_a_time(
    posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feeds, "_PLANNED_FEEDS", 3)
    for i in range(10):
        posts.set(f"feeds/f{i}", {"size": 5})
    posts.settle()
    outdated, looked_at = LiveFeeds._outdated, list[int]()

    def noted(self: LiveFeeds, names: list[str], *more: Any) -> Iterator[str]:
        looked_at.append(len(names))
        yield from outdated(self, names, *more)

    monkeypatch.setattr(LiveFeeds, "_outdated", noted)
    posts.set("weights", {"quality": 1, "engagement": 0, **PLAIN})
    while sum(looked_at) != len(posts.combiner.feeds):
        before = len(looked_at)
        assert posts.combiner.work(NOW_MS, lambda: False)
        assert len(looked_at) == before + 1
    assert max(looked_at) == 3
    # One that came, and one that went, before the others are made.
    posts.add("late", quality=1.0, communities=("c7",))
    posts.delete("p3")
    feeds = posts.settle()
    assert feeds["community:c7"]["late"] == feeds["f1"]["late"] == pytest.approx(0.0)
    assert all("p3" not in feed for feed in feeds.values())


def test_what_was_restored_is_ranked_though_shards_go_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_feeds, "_PLANNED_FEEDS", 1)
    posts = Posts()
    posts.combiner.is_restoring = True
    posts.add("p1")
    posts.combiner.rank_changes(NOW_MS)
    posts.combiner.is_restoring = False
    for _ in range(3):
        assert posts.combiner.work(NOW_MS, lambda: False)
    posts.combiner.own(frozenset({shard_of("global")}))
    assert set(posts.settle()["global"]) == {"p1"}


def test_feeds_without_a_setting_go_some_at_a_time(posts: Posts) -> None:
    for i in range(10):
        posts.set(f"feeds/f{i}", {"size": 5})
    posts.settle()
    for i in range(10):
        posts.set(f"feeds/f{i}", None)
    counts = [len(posts.combiner.feeds)]
    posts.work_in_parts(lambda _: counts.append(len(posts.combiner.feeds)))
    assert counts[0] - counts[-1] == 10
    assert max(before - after for before, after in pairwise(counts)) == 1
    assert not [name for name in posts.settle() if name.startswith("f")]


@pytest.mark.parametrize("feeds", [["global"], ["global", *(f"f{i}" for i in range(10))]])
def test_arms_are_ranked_and_forgotten_some_at_a_time(
    posts: Posts, monkeypatch: pytest.MonkeyPatch, feeds: list[str]
) -> None:
    monkeypatch.setattr(feed_set, "_RANKED_ROWS", 24)
    monkeypatch.setattr(feed_ranking, "_MANY_FROM", 1)
    for name in feeds[1:]:
        posts.set(f"feeds/{name}", {"size": 5})
    posts.settle()
    update, ranked, made = FeedRanking._update_many, [0], list[weakref.ref[FeedScores]]()

    def noted(self: FeedRanking, rows: npt.NDArray[np.int32], now_ms: int) -> bool:
        ranked[-1] += len(rows)
        made.append(weakref.ref(self.scores))
        return update(self, rows, now_ms)

    monkeypatch.setattr(FeedRanking, "_update_many", noted)
    arms = [{"name": f"a{i}", "share": 3000, "weights": {"quality": i / 8}} for i in range(1, 3)]
    fixed = {"feeds": feeds, "salt": "s", "planned_n": 1000}
    value = {"arms": [{"name": "control", "share": 4000}, *arms], **fixed}
    posts.set("experiments/e", value)
    posts.work_in_parts(lambda _: ranked.append(0))
    assert sum(ranked) == 20 * 3 * len(feeds)
    # None of the lists has a floor yet.
    assert 0 < max(ranked) <= 24 // 4
    posts.take()
    posts.set("experiments/e", {**value, "stopped": True})
    of_arms = {ref for ref in made if ref() is not posts.combiner.ranking("global").scores}
    left = [len(of_arms)]
    posts.work_in_parts(lambda _: left.append(sum(one() is not None for one in of_arms)))
    assert (left[0], left[-1]) == (2, 0)
    assert max(before - after for before, after in pairwise(left)) == 1


# --- shards go and come -----------------------------------------------------------------------


def test_when_shards_go_their_feeds_are_found_without_a_hash_of_each(
    posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(100):
        posts.set(f"feeds/f{i}", {"size": 5})
        posts.add(f"of-d{i}", communities=(f"d{i}",))
    posts.settle()
    combiner, hashed = posts.combiner, list[bytes]()
    before, half = set(combiner.feeds), frozenset(range(0, SHARDS, 2))
    assert len(before) > 100

    def noted(key: bytes) -> int:
        hashed.append(key)
        return murmur2(key)

    with monkeypatch.context() as patch:
        patch.setattr(partition, "murmur2", noted)
        shard_of.cache_clear()
        combiner.own(half)
    # They are computed together.
    assert not hashed
    assert set(combiner.feeds) == {name for name in before if shard_of(name) in half}
    combiner.own(ALL_SHARDS)
    posts.settle()
    assert set(combiner.feeds) == before


@pytest.mark.parametrize("is_making", [False, True])
def test_feeds_of_shards_that_went_are_freed_some_at_a_time(
    posts: Posts, monkeypatch: pytest.MonkeyPatch, is_making: bool
) -> None:
    monkeypatch.setattr(live_feeds, "_FREED_FEEDS", 3)
    for i in range(10):
        posts.set(f"feeds/f{i}", {"size": 5})
    posts.settle()
    combiner, made = posts.combiner, list[weakref.ref[FeedRanking]]()
    if is_making:
        put = FeedSet.put

        def noted(self: FeedSet, feed: FeedRanking) -> None:
            made.append(weakref.ref(feed))
            put(self, feed)

        monkeypatch.setattr(FeedSet, "put", noted)
        posts.set("weights", {"quality": 1, "engagement": 0})
        while len(made) < len(combiner.feeds):
            assert combiner.work(NOW_MS, lambda: False), "they are being made"
    lost = [*made, *(weakref.ref(combiner.ranking(name)) for name in combiner.feeds)]
    combiner.own(frozenset())
    assert not combiner.feeds
    left, has_more = [sum(one() is not None for one in lost)], True
    while has_more:
        has_more = combiner.work(NOW_MS, lambda: False)
        left.append(sum(one() is not None for one in lost))
    assert (left[0], left[-1]) == (len(lost), 0)
    assert max(before - after for before, after in pairwise(left)) == 3
