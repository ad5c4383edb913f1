"""A list finds what a rule with the same entries finds, whatever their number."""

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.events import post, settings_of
from builders.lists import digests_of, post_list
from feedmill.events.post import Media, Post
from feedmill.events.rules import Rule, RuleAction
from feedmill.filters.lists import (
    DIGEST_BYTES,
    DIGESTS,
    KINDS,
    FilterRules,
    ListKind,
    ListSet,
    digest_of,
)
from feedmill.filters.phrases import MAX_PHRASE_WORDS, phrase_words
from feedmill.filters.rules import RuleMatch, RuleSet

HOSTS = ("evil.example", "shop.evil.example", "www.evil.example", "a.co", "b.a.co", "xn--p1ai.test")
SHAS = tuple(digit * 64 for digit in "0aAbF9")
AUTHORS = ("ann", "Ann", "bob", "ünï", "did:plc:1")
FIELDS = {"domains": "domains", "phrases": "phrases", "media": "media_sha256", "authors": "authors"}
ENTRIES: dict[ListKind, Sequence[str]] = {
    "domains": ("evil.example", "b.a.co", "a.co", "xn--p1ai.test"),
    "media": tuple(sorted({sha.lower() for sha in SHAS})),
    "authors": AUTHORS,
    "phrases": ("hello", "Hello mail", "a co", "evil", "$ hello", "free money now"),
}
# Letters with case, marks, disguises and scripts without blanks, symbols, and what hides between.
PIECES = (
    *("a", "A", "b", "ab", "fr33", "free", "Money", "\u00df", "SS", "\u0130", "e\u0301", "\u00e9"),
    *("\u0430", "\u514d", "\u8d39", "\u30ab", "\u0e01", "\ufb01", "\uff46", "1", "\u00b2"),
    *("\u20d0", " ", "  ", "\n", "_", "-", ".", "'", "!", "\u200b", "\u00ad", "\u3000", "\u2028"),
    *("\x00", "\x07", "$", "+", "<", "\u20ac", "\U0001f346", "\ufe0f", "<b>", "@", "\ud800"),
    *("\ufdfa", "\u0345"),
)
strange_texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
strange_phrases = strange_texts.map(lambda text: text.replace("\ud800", "")).filter(
    lambda text: 0 < len(phrase_words(text)[0]) <= MAX_PHRASE_WORDS
)

urls = st.builds("https://{}/{}".format, st.sampled_from(HOSTS), st.sampled_from(["", "x?y=1"]))
texts = st.lists(
    st.sampled_from([*HOSTS, "Hello", "mail@a.co", "EVIL.example.", "fr33 $", "money"]), max_size=4
).map(" ".join)
media = st.builds(
    Media, st.one_of(urls, st.just("u")), st.just("image"), st.none() | st.sampled_from(SHAS)
)
posts = st.builds(
    post,
    text=texts,
    author_id=st.sampled_from(AUTHORS),
    links=st.none() | st.lists(urls, max_size=2).map(tuple),
    media=st.none() | st.lists(media, max_size=2).map(tuple),
)
actions = st.sampled_from(["hide", "demote", "allow"])


@st.composite
def drawn_lists(draw: Any) -> list[tuple[str, ListKind, RuleAction, list[str]]]:
    """Name, kind, verdict and entries of some lists."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(KINDS))
        entries = draw(st.lists(st.sampled_from(ENTRIES[kind]), min_size=1, unique=True))
        made.append((f"l{number}", kind, draw(actions), entries))
    return made


@given(st.lists(posts, max_size=5), drawn_lists())
def test_lists_decide_as_rules_with_the_same_entries(
    drawn: list[Post], lists: list[tuple[str, ListKind, RuleAction, list[str]]]
) -> None:
    rules = RuleSet(
        {
            name: msgspec.structs.replace(Rule(verdict), **{FIELDS[kind]: tuple(entries)})
            for name, kind, verdict, entries in lists
        }
    )
    made = ListSet([post_list(kind, entries, name, v) for name, kind, v, entries in lists])
    expected = [
        match and RuleMatch(match.verdict, f"list/{match.rule}@{'0' * 12}")
        for match in rules.verdicts(drawn, [0] * len(drawn))
    ]
    assert made.verdicts(drawn) == expected


@given(
    st.lists(st.lists(strange_phrases, min_size=1, max_size=5), min_size=1, max_size=3), st.data()
)
def test_a_list_finds_the_phrases_that_a_rule_finds(lists: list[list[str]], data: Any) -> None:
    known = st.sampled_from([phrase for phrases in lists for phrase in phrases])
    texts = st.lists(st.one_of(known, known, strange_texts), max_size=4).map("".join)
    drawn = [post(text=text) for text in data.draw(st.lists(texts, max_size=5))]
    rules = RuleSet({f"l{i}": Rule("hide", phrases=tuple(one)) for i, one in enumerate(lists)})
    made = ListSet([post_list("phrases", one, f"l{i}") for i, one in enumerate(lists)])
    expected = [match and match.rule for match in rules.verdicts(drawn, [0] * len(drawn))]
    found = [match and match.rule[5:7] for match in made.verdicts(drawn)]
    assert found == expected


def test_of_many_phrases_each_is_found_and_no_part_of_one() -> None:
    drawn = random.Random(14)
    vocabulary = [f"w{number}" for number in range(300)]
    phrases = {" ".join(drawn.choices(vocabulary, k=drawn.randint(2, 9))) for _ in range(10_000)}
    made = ListSet([post_list("phrases", phrases)])
    texts = drawn.sample(sorted(phrases), 300)
    cut = [text.rpartition(" ")[0] for text in texts]
    expected = [
        any(
            " ".join(words[i:j]) in phrases
            for i in range(len(words))
            for j in range(len(words) + 1)
        )
        for words in map(str.split, [*texts, *cut])
    ]
    found = made.verdicts([post(text=f"Xx {text}, yy") for text in [*texts, *cut]])
    assert [match is not None for match in found] == expected
    assert all(expected[:300])
    assert not all(expected[300:])


def test_a_key_without_its_digest_finds_nothing() -> None:
    good = post_list("phrases", ["free money"])
    forged = dataclasses.replace(good, digests=digests_of(["other"]))
    assert ListSet([good]).verdicts([post(text="Free money!")]) != [None]
    assert ListSet([forged]).verdicts([post(text="Free money!")]) == [None]


def test_the_first_and_the_last_digest_are_found_and_none_beyond_them() -> None:
    one = post_list("authors", ["a", "b", "c"])
    beyond = np.array([b"\x00" * DIGEST_BYTES, b"\xff" * DIGEST_BYTES], dtype=DIGESTS)
    assert one.holds(one.digests).all()
    assert not one.holds(beyond).any()
    # A digest that ends with zeros is one of twelve bytes all the same.
    ends = np.array([b"\x01" + b"\x00" * 11, b"\x01\x00\x02" + b"\x00" * 9], dtype=DIGESTS)
    assert ends[:1] != ends[1:]


def test_no_lists_decide_nothing() -> None:
    assert ListSet([]).count == 0
    assert ListSet([]).verdicts([post()]) == [None]
    assert ListSet([post_list("media", ["0" * 64])]).verdicts([]) == []


@pytest.mark.parametrize("text", ["", "a", "ünï", "\ud800"])
def test_a_digest_has_twelve_bytes(text: str) -> None:
    assert len(digest_of(text)) == DIGEST_BYTES
    assert len(digests_of([text, text])) == 1


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
