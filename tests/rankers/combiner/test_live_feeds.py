"""Feeds are made anew beside the old ones, in slices, and feeds on demand come and go."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from builders.events import HOUR_MS, NOW_MS, override, post, settings_of, signal
from feedmill.events.override import OverrideKey
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner, feed_build
from feedmill.rankers.combiner.feed_authors import claim_order

NAMES = SignalNames()
HIDDEN, SHOWN = 0.95, 0.1


class Posts:
    """A combiner with posts, and the feeds that its changes make."""

    def __init__(self) -> None:
        self.combiner = Combiner(NAMES)
        self.feeds: dict[str, dict[str, float]] = {}
        self.offsets: dict[str, int] = {}

    def add(self, post_id: str, quality: float = 0.5, spam: float = SHOWN, **more: Any) -> None:
        arrived_ms = more.pop("arrived_ms", NOW_MS)
        given = {"author_id": post_id, "created_at_ms": NOW_MS, **more}
        self.offsets[post_id] = len(self.offsets)
        one = post(post_id, **given)
        self.combiner.view.update_post(one, self.offsets[post_id], arrived_ms)
        for name in NAMES.gates:
            self.signal(name, post_id, SHOWN)
        self.signal("spam", post_id, spam)
        self.signal("quality", post_id, quality)

    def signal(self, name: str, post_id: str, value: float) -> None:
        self.combiner.view.update_signal(name, signal(post_id, self.offsets[post_id], value))

    def delete(self, post_id: str) -> None:
        deletion = Deletion(post_id, deleted=True)
        self.combiner.view.update_post(deletion, self.offsets[post_id] + 1, NOW_MS)

    def set(self, key: str, value: Any) -> None:
        self.combiner.apply(settings_of((key, value), before=self.combiner.settings))

    def take(self) -> None:
        """Take the changes into `feeds`."""
        changes = self.combiner.take(NOW_MS)
        for name in changes.removed_feeds:
            self.feeds.pop(name, None)
        for change in changes.feeds:
            held = {} if change.whole else self.feeds[change.feed]
            for post_id in change.removed:
                del held[post_id]
            self.feeds[change.feed] = {**held, **dict(change.entries)}

    def settle(self) -> dict[str, dict[str, float]]:
        self.combiner.work(NOW_MS)
        self.combiner.tick(NOW_MS)
        self.combiner.work(NOW_MS)
        self.take()
        return self.feeds

    def work_in_parts(self, between: Callable[[int], object]) -> int:
        """Do all work in the smallest parts; returns how many there were."""
        for part in itertools.count(1):
            if not self.combiner.work(NOW_MS, lambda: False):
                return part
            between(part)
        raise AssertionError


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
    posts.set("weights", {"quality": 1, "engagement": 0, "half_life_hours": None})
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


@pytest.mark.parametrize("how", ["delete", "hide", "override", "expire"])
def test_removals_apply_at_once_while_feeds_are_made_anew(posts: Posts, how: str) -> None:
    posts.set("weights", {"quality": 1, "engagement": 0, "half_life_hours": None})
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


def test_what_comes_while_feeds_are_made_anew_is_in_them(posts: Posts) -> None:
    posts.set("feeds/mine", {"match": {"langs": ["en"]}})
    posts.set("weights/community:c1", {"quality": 1, "engagement": 0, "half_life_hours": None})

    def between(part: int) -> None:
        posts.add(f"new{part}", quality=1.0, communities=("c1",), lang="en")

    parts = posts.work_in_parts(between)
    feeds = posts.settle()
    new = {f"new{part}" for part in range(1, parts)}
    assert new <= feeds["mine"].keys()
    assert {feeds["community:c1"][one] for one in new} == {0.0}


def test_settings_that_change_again_meanwhile_are_followed_afterwards(posts: Posts) -> None:
    posts.set("weights", {"quality": 1, "engagement": 0, "half_life_hours": None})

    def between(part: int) -> None:
        if part == 3:
            posts.set("weights", {"quality": 2, "engagement": 0, "half_life_hours": None})

    posts.work_in_parts(between)
    assert posts.settle()["community:c1"]["p3"] == pytest.approx(-2.0)
    assert posts.combiner.followed is posts.combiner.settings


def test_a_setting_of_one_feed_leaves_the_others_alone(posts: Posts) -> None:
    ranking = posts.combiner.ranking("community:c1")
    posts.set("weights/global", {"quality": 1, "engagement": 0})
    posts.combiner.work(NOW_MS)
    assert [change.feed for change in posts.combiner.take(NOW_MS).feeds] == ["global"]
    assert posts.combiner.ranking("community:c1") is ranking


def test_overrides_hold_under_new_gates(posts: Posts) -> None:
    view = posts.combiner.view
    view.update_override(OverrideKey("author", "p4", "*"), override("hide"))
    view.update_override(OverrideKey("post", "p5", "spam"), override("allow"))
    posts.settle()
    posts.set("gates", {"spam": {"hide_at": 0.05}})
    assert set(posts.settle()["global"]) == {"p5"}
    posts.set("gates", None)
    assert set(posts.settle()["global"]) == {f"p{i}" for i in range(20)} - {"p4"}


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


# --- feeds on demand ------------------------------------------------------------------------


def made_feeds(posts: Posts) -> set[str]:
    return set(posts.settle()) - {"global"}


def test_hidden_posts_make_no_feed_and_take_no_place() -> None:
    posts = Posts()
    for i in range(1200):
        posts.add(f"spam{i}", spam=HIDDEN, communities=(f"bad{i}", f"worse{i}"), lang=f"x{i}")
    posts.add("ham", communities=("good",), lang="en")
    assert made_feeds(posts) == {"community:good", "lang:en"}
    assert posts.combiner.places.refused == 0
    assert posts.combiner.places.waiting == {"community:*": 0, "lang:*": 0}


def test_a_feed_goes_with_its_last_post_and_comes_again() -> None:
    posts = Posts()
    posts.add("a", communities=("c",))
    posts.add("b", communities=("c",))
    assert made_feeds(posts) == {"community:c"}
    posts.signal("spam", "a", HIDDEN)
    posts.delete("b")
    assert made_feeds(posts) == set()
    assert posts.combiner.feeds == ("global",)
    posts.signal("spam", "a", SHOWN)
    assert set(posts.settle()["community:c"]) == {"a"}


def test_a_demoted_post_makes_a_feed() -> None:
    posts = Posts()
    posts.add("a", spam=0.7, communities=("c",))
    assert made_feeds(posts) == {"community:c"}


def test_a_post_out_of_the_window_makes_none() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"window_hours": 1})
    posts.add("a", communities=("c",), created_at_ms=NOW_MS - 2 * HOUR_MS)
    assert made_feeds(posts) == set()


@pytest.mark.parametrize("seed", range(5))
def test_which_feeds_have_places_does_not_depend_on_the_order_of_reading(seed: int) -> None:
    posts, random = Posts(), Random(seed)
    posts.set("feeds/community:*", {"max_feeds": 3})
    for i in random.sample(range(60), 60):
        # c19 has two authors, and so does c0, all of whose posts are hidden.
        spam = HIDDEN if i % 20 < 4 else SHOWN
        author = f"a{i % 40}" if i % 20 in (0, 19) else f"a{i % 20}"
        posts.add(f"p{i}", spam=spam, author_id=author, communities=(f"c{i % 20}",))
        if random.random() < 0.2:
            posts.settle()
    feeds = posts.settle()
    of_one = sorted((f"community:c{i}" for i in range(4, 19)), key=claim_order)
    assert set(feeds) - {"global"} == {"community:c19", *of_one[:2]}
    # One that waited has the posts from then, too.
    assert set(feeds["community:c19"]) == {"p19", "p39", "p59"}


def test_a_feed_that_waits_gets_the_place_of_one_that_goes() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"max_feeds": 1})
    for i, authors in enumerate((4, 2, 1)):
        for n in range(authors):
            posts.add(f"p{i}.{n}", communities=(f"c{i}",))
    assert made_feeds(posts) == {"community:c0"}
    posts.signal("spam", "p1.0", HIDDEN)
    posts.signal("spam", "p1.1", HIDDEN)  # so c1 has nothing to show when its turn comes
    for n in range(4):
        posts.delete(f"p0.{n}")
    assert set(posts.settle()["community:c2"]) == {"p2.0"}
    assert posts.combiner.feeds == ("global", "community:c2")


def test_a_community_of_several_authors_gets_a_place_of_many_invented_ones() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"max_feeds": 8})
    for i in range(40):
        names = tuple(f"invented{16 * i + n}" for n in range(16))
        posts.add(f"spam{i}", author_id="spammer", communities=names)
    assert len(made_feeds(posts)) == 8
    posts.add("first", communities=("menders",))
    # Its author counts, and the spammer does not.
    assert set(posts.settle()["community:menders"]) == {"first"}
    posts.delete("first")
    assert "community:menders" not in posts.settle()
    for n in range(10):
        posts.add(f"again{n}", communities=("menders",))
    assert len(posts.settle()["community:menders"]) == 10
    assert len(made_feeds(posts)) == 8
    for i in range(40):
        posts.delete(f"spam{i}")
    posts.settle()
    posts.add("other", author_id="spammer", communities=("invented3", "another"))
    shown = {"community:menders", "community:invented3", "community:another"}
    assert made_feeds(posts) == shown
    assert posts.combiner.places.waiting == {"community:*": 0, "lang:*": 0}


def test_one_author_holds_few_of_the_places_that_are_short() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"max_feeds": 100})
    for i in range(20):
        names = tuple(f"squat{16 * i + n}" for n in range(16))
        posts.add(f"squat{i}", author_id="squatter", communities=names)
    for i in range(90):
        posts.add(f"p{i}", communities=(f"new{i}",))
    made = made_feeds(posts)
    assert {f"community:new{i}" for i in range(90)} <= made
    assert len(made) == 100


def test_while_places_are_not_short_one_author_may_have_all() -> None:
    posts = Posts()
    for i in range(20):
        posts.add(f"p{i}", author_id="one", communities=tuple(f"c{i}.{n}" for n in range(16)))
    assert len(made_feeds(posts)) == 320


def test_a_feed_at_the_border_stays_while_authors_come_and_go() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"max_feeds": 2})
    for i in range(4):
        for n in range(5):
            posts.add(f"p{i}.{n}", communities=(f"c{i}",))
    placed = made_feeds(posts)
    assert len(placed) == 2
    for n in range(60):
        # Between four and seven authors are one level.
        community = n % 4
        posts.add(f"q{n}", communities=(f"c{community}",))
        assert made_feeds(posts) == placed
        posts.delete(f"q{n}")
        posts.delete(f"p{community}.0")
        assert made_feeds(posts) == placed
        posts.add(f"p{community}.0", communities=(f"c{community}",))


def test_more_places_are_given_at_once() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"max_feeds": 1})
    for i in range(8):
        posts.add(f"p{i}", communities=(f"c{i % 4}",))
    order = sorted((f"community:c{i}" for i in range(4)), key=claim_order)
    posts.settle()
    posts.set("feeds/community:*", {"max_feeds": 3})
    feeds = posts.settle()
    assert set(feeds) - {"global"} == set(order[:3])
    assert all(len(feeds[name]) == 2 for name in order[:3])
    posts.set("feeds/community:*", {"max_feeds": 1})
    assert made_feeds(posts) == {order[0]}
    assert posts.combiner.places.waiting == {"community:*": 3, "lang:*": 0}


def test_a_window_that_ends_takes_authors_away() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {"max_feeds": 1, "window_hours": 1})
    for n in range(2):
        posts.add(f"old{n}", communities=("old",), created_at_ms=NOW_MS - HOUR_MS // 2)
    posts.add("new", communities=("new",))
    assert made_feeds(posts) == {"community:old"}
    later_ms = NOW_MS + HOUR_MS // 2 + 1
    posts.combiner.tick(later_ms)
    posts.combiner.work(later_ms)
    assert posts.combiner.feeds == ("global", "community:new")


def test_posts_of_a_restore_are_ranked_together() -> None:
    posts = Posts()
    posts.add("a", communities=("c",))
    posts.settle()
    posts.combiner.is_restoring = True
    posts.add("b", communities=("c", "d"))
    posts.add("x", spam=HIDDEN, communities=("e",))
    posts.delete("a")
    posts.combiner.follow(NOW_MS)
    posts.take()
    assert posts.feeds == {"global": {}}
    posts.combiner.is_restoring = False
    feeds = posts.settle()
    assert {name: set(feed) for name, feed in feeds.items()} == {
        "global": {"b"},
        "community:c": {"b"},
        "community:d": {"b"},
    }


def spread(number: int) -> float:
    """Every value another one, in no order."""
    return (number * 7919 % 3001 + 1) / 4000


@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize(
    "quality",
    [
        spread,
        # What the sample has is above all others.
        lambda number: 0.9 + number / 1e5 if number % 8 == 0 else spread(number),
        # The best are all of one author.
        lambda number: 0.9 + number / 1e5 if number < 1000 else spread(number),
        lambda number: 0.5,
        # Hardly any are shown.
        lambda number: spread(number) if number % 97 == 0 else None,
    ],
)
def test_a_feed_made_of_very_many_posts_has_the_best_of_all(
    quality: Callable[[int], float | None], most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_build, "_SCORED_ROWS", 512)
    monkeypatch.setattr(feed_build, "_RANKED_ROWS", 1024)
    posts, expected = Posts(), []
    for number in range(2000):
        post_id, value = f"p{number:04}", quality(number)
        author = "one" if number < 1000 else post_id
        spam = HIDDEN if value is None else SHOWN
        posts.add(post_id, value or 0.5, spam=spam, author_id=author)
        if value is not None:
            expected.append((np.float32(value), post_id, author))
    posts.set("feeds/global", {"size": 5})
    posts.settle()
    weights = {"quality": 2, "engagement": 0, "half_life_hours": None, "max_per_author": most}
    posts.set("weights/global", weights)
    best, of_author = [], Counter[str]()
    for _, post_id, author in sorted(expected, reverse=True):
        of_author[author] += 1
        if of_author[author] <= (most or 5):
            best.append(post_id)
    assert list(posts.settle()["global"]) == best[:5]
    ranked = posts.combiner.ranking("global").list
    assert not ranked.is_short
    assert ranked.floor_score > -np.inf or len(ranked) == len(expected)
