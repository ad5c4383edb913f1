"""Which feeds take the posts of a group."""

from random import Random

import pytest

from builders.events import post, settings_of
from feedmill.events.feeds import FeedSpec
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


def test_drawn_feeds_and_groups_meet_as_their_specs_say() -> None:
    """Beside a look at each feed, in the order of the settings."""
    random = Random(5)
    names = ["a", "b", "c"]
    for _ in range(40):
        feeds = {
            random.choice((f"f{i}", f"community:{random.choice(names)}", f"lang:{names[i % 3]}")): {
                "include_replies": random.random() < 0.5,
                "match": {
                    "communities": random.sample(names, random.randrange(3)),
                    "langs": random.sample(names, random.randrange(3)),
                },
            }
            for i in range(12)
        }
        for name, spec in feeds.items():
            if ":" in name:
                del spec["match"]
        matcher = FeedMatcher(settings_of(*((f"feeds/{name}", s) for name, s in feeds.items())))
        for _ in range(20):
            communities = tuple(random.sample(names, random.randrange(3)))
            group = PostGroup(communities, random.choice((None, *names)), random.random() < 0.5)
            found = [n for n in matcher.feeds_of(0, [group]) if n in matcher.named]
            assert found == [n for n in matcher.named if takes(n, matcher.named[n], group)]
            matcher.forget([0])


def takes(name: str, spec: FeedSpec, group: PostGroup) -> bool:
    kind, _, value = name.partition(":")
    match = spec.match
    asked = {"community": {value}}.get(kind, set(match.communities))
    langs = {"lang": {value}}.get(kind, set(match.langs))
    return (
        (spec.include_replies or not group.is_reply)
        and (not asked or not asked.isdisjoint(group.communities))
        and (not langs or group.lang in langs)
    )
