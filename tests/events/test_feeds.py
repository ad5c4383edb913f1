import pytest

from feedmill.events.errors import BadSetting
from feedmill.events.feeds import FeedSpec, check_feed_name, pattern_of


@pytest.mark.parametrize("feed", ["global", "a", "A.b_c-9", "x" * 64, "community:a", "lang:pt-BR"])
def test_names_of_feeds(feed: str) -> None:
    check_feed_name(feed)


@pytest.mark.parametrize(
    "feed",
    ["", "x" * 65, "a b", "a\n", "a/b", "é", "community:", "community:a b", "topic:a", "lang:a:b",
     "community:*", "*", "community:" + "x" * 65, "{a}", "a|b"],
)  # fmt: skip
def test_what_no_feed_may_be_called(feed: str) -> None:
    with pytest.raises(BadSetting, match="Expected a feed"):
        check_feed_name(feed)


def test_a_pattern_is_a_name_only_where_patterns_are_asked_for() -> None:
    check_feed_name("community:*", pattern_allowed=True)
    with pytest.raises(BadSetting):
        check_feed_name("topic:*", pattern_allowed=True)
    assert pattern_of("community:python") == "community:*"
    assert pattern_of("lang:*") == "lang:*"
    assert pattern_of("global") is None
    assert pattern_of("topic:x") is None


def test_a_pattern_makes_a_thousand_feeds_unless_told() -> None:
    assert FeedSpec().places == 32
    assert FeedSpec(max_feeds=1).places == 1
    assert FeedSpec(max_feeds=64).places == 1
    assert FeedSpec(max_feeds=65).places == 2
