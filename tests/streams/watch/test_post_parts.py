"""Which parts of all posts are watched, and of which a verdict is."""

import random

from builders.events import NOW_MS
from feedmill.events.post import Post
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.streams.watch.post_parts import LEAST_POSTS, BusyParts, PostParts, PostVerdict

SPAM = PostVerdict("spam", "v1", 0.7)
POST = Post("p", "a", NOW_MS, "t", lang="fi", communities=("x", "y", "x"))
PARTS = ["", "lang:fi", "community:x", "community:y"]


def test_a_verdict_and_its_post_meet_in_either_order_and_once() -> None:
    parts = PostParts()
    assert parts.take_verdict("p", SPAM) == []
    assert list(parts.take_post(POST, 0)) == [(SPAM, PARTS)]
    assert list(parts.take_post(POST, 0)) == []
    assert parts.take_verdict("p", SPAM._replace(value=0.2)) == []
    assert parts.take_verdict("p", SPAM._replace(name="nsfw")) == PARTS


def test_the_oldest_posts_are_forgotten() -> None:
    parts = PostParts(most_posts=2)
    for post_id in ("p", "q", "r"):
        parts.take_verdict(post_id, SPAM)
    assert list(parts.take_post(POST, 0)) == []


def test_a_part_with_enough_posts_stays_among_any_number_of_others() -> None:
    busy, draw = BusyParts(most=9), random.Random(1)
    for i in range(20_000):
        busy.take("busy" if draw.random() < 0.15 else f"flood {i}", 0)
    assert busy.is_watched("busy")
    assert sum(f"flood {i}" in busy for i in range(20_000)) <= 8


def test_a_part_is_watched_from_some_posts_on_and_goes_when_it_is_quiet() -> None:
    busy = BusyParts()
    for _ in range(LEAST_POSTS - 1):
        busy.take("x", 0)
    assert not busy.is_watched("x")
    busy.take("x", 0)
    assert busy.is_watched("x")
    for day in range(1, 9):
        busy.take("y", day * DAY_MS)
    assert "x" not in busy
    busy.keep("z")
    assert busy.is_watched("z")
