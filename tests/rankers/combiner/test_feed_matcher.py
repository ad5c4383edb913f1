"""Which feeds take the posts of a group, asked from either side."""

from __future__ import annotations

from random import Random

import numpy as np

from builders.events import settings_of
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_set import result_of
from feedmill.rankers.combiner.post_group import PostGroup

SETTINGS = settings_of(
    ("feeds/global", {}),
    ("feeds/all", {"include_replies": True}),
    ("feeds/pets", {"match": {"communities": ["cats", "dogs"], "langs": ["en"]}}),
    ("feeds/community:dogs", {"include_replies": True}),
)
FEEDS = ("global", "all", "pets", "community:cats", "community:dogs", "lang:en", "lang:de")


def drawn(random: Random) -> PostGroup:
    communities = tuple(c for c in ("cats", "dogs", "birds") if random.random() < 0.4)
    return PostGroup(communities, random.choice((None, "en", "de")), random.random() < 0.3)


def check(matcher: FeedMatcher, groups: list[PostGroup], random: Random) -> None:
    numbers = np.array([random.randrange(-1, len(groups)) for _ in range(300)], np.int32)
    for feed in FEEDS:
        taken = result_of(matcher.taken_by(feed, numbers, groups))
        assert taken.tolist() == [
            number >= 0 and feed in matcher.feeds_of(number, groups) for number in numbers.tolist()
        ]


def test_a_feed_takes_the_groups_that_name_it() -> None:
    random, matcher = Random(5), FeedMatcher(SETTINGS)
    groups = [drawn(random) for _ in range(10)]
    check(matcher, groups, random)
    groups += [drawn(random) for _ in range(1500)]
    check(matcher, groups, random)


def test_a_number_that_stands_for_another_group_is_asked_again() -> None:
    random, matcher = Random(6), FeedMatcher(SETTINGS)
    groups = [drawn(random) for _ in range(40)]
    check(matcher, groups, random)
    for number in range(0, 40, 2):
        groups[number] = drawn(random)
    matcher.forget(range(0, 40, 2))
    check(matcher, groups, random)


def test_it_keeps_what_the_feeds_made_last_take() -> None:
    matcher = FeedMatcher(SETTINGS)
    groups = [PostGroup((f"c{i}",), None, is_reply=False) for i in range(100)]
    numbers = np.arange(100, dtype=np.int32)
    for i in range(100):
        taken = result_of(matcher.taken_by(f"community:c{i}", numbers, groups))
        assert np.flatnonzero(taken).tolist() == [i]
    assert len(matcher._taken) <= 16
