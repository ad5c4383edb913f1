"""Which feeds take the posts of a group."""

import pytest

from builders.events import post, settings_of
from feedmill.rankers.combiner.feed_matcher import FeedMatcher, PostGroup

SETTINGS = settings_of(
    ("feeds/global", {}),
    ("feeds/all", {"include_replies": True}),
    ("feeds/pets", {"match": {"communities": ["cats", "dogs"], "langs": ["en"]}}),
    ("feeds/community:dogs", {"include_replies": True}),
)


@pytest.mark.parametrize(
    ("communities", "lang", "is_reply", "feeds"),
    [
        ((), None, False, {"global", "all"}),
        (("cats",), "en", False, {"global", "all", "pets", "community:cats", "lang:en"}),
        (("cats",), "de", False, {"global", "all", "community:cats", "lang:de"}),
        (("birds",), "en", False, {"global", "all", "community:birds", "lang:en"}),
        (("cats", "dogs", "cats"), "en", True, {"all", "community:dogs"}),
    ],
)
def test_a_feed_takes_the_groups_that_name_it(
    communities: tuple[str, ...], lang: str | None, feeds: set[str], *, is_reply: bool
) -> None:
    reply_to = "q" if is_reply else None
    group = PostGroup.of(post("p", communities=communities, lang=lang, in_reply_to=reply_to))
    assert group.communities == tuple(dict.fromkeys(communities))
    assert set(FeedMatcher(SETTINGS).feeds_of(0, [group])) == feeds


def test_a_number_that_stands_for_another_group_is_asked_again() -> None:
    matcher, groups = FeedMatcher(SETTINGS), [PostGroup((), "en", is_reply=False)]
    assert "lang:en" in matcher.feeds_of(0, groups)
    groups[0] = PostGroup((), "de", is_reply=False)
    matcher.forget([0])
    assert "lang:de" in matcher.feeds_of(0, groups)
