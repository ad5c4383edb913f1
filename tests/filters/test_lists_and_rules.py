"""Which rules and lists of a filter are in force, and which of them decides."""

import numpy as np

from builders.events import post, settings_of
from builders.lists import post_list
from feedmill.filters.lists import FilterRules, ListSet
from feedmill.filters.rules import RuleMatch


def test_rules_follow_the_settings_of_their_filter() -> None:
    spam = FilterRules("spam")
    assert not spam.set_settings(
        settings_of(("rules/nsfw", {"r": {"authors": ["ann"], "verdict": "hide"}}))
    )
    assert spam.verdicts([post()], [0]) == [None]
    one = ("rules/spam", {"r": {"authors": ["ann"], "verdict": "demote"}})
    assert spam.set_settings(settings_of(one))
    assert not spam.set_settings(settings_of(one, ("weights", {"quality": 1, "engagement": 1})))
    (hit,) = spam.verdicts([post()], [0])
    assert hit == RuleMatch("demote", "r")
    assert [spam.value_of(RuleMatch(v, "r")) for v in ("hide", "allow")] == [1.0, 0.0]
    assert spam.value_of(hit) == 0.75
    spam.set_settings(settings_of(one, ("gates/strict", {"spam": {"hide_at": 0.7}})))
    assert spam.value_of(hit) == float(np.float32(0.65))
    assert spam.set_settings(settings_of())
    assert spam.verdicts([post()], [0]) == [None]


def test_a_rule_beats_every_list_and_the_other_posts_are_left_to_the_lists() -> None:
    spam = FilterRules("spam")
    hiding = post_list("authors", ["ann", "bob"])
    spam.set_lists(ListSet([hiding, post_list("authors", ["bob"], "friends", "allow")]))
    posts = [post(author_id=author) for author in ("ann", "bob", "cem")]
    by_list = [RuleMatch("hide", hiding.label), RuleMatch("allow", "list/friends@000000000000")]
    assert spam.verdicts(posts, [0, 0, 0]) == [*by_list, None]

    demote = {"r": {"authors": ["bob", "cem"], "verdict": "demote"}}
    assert spam.set_settings(settings_of(("rules/spam", demote)))
    by_rule = RuleMatch("demote", "r")
    assert spam.verdicts(posts, [0, 0, 0]) == [by_list[0], by_rule, by_rule]
    spam.set_lists(ListSet([]))
    assert spam.verdicts(posts, [0, 0, 0]) == [None, by_rule, by_rule]
