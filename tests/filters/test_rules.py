from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.events import post
from builders.work import bytecode_steps
from feedmill.events.errors import BadSetting
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Media, Post
from feedmill.events.rules import MAX_RULES, decode_rules
from feedmill.filters.rules import RuleMatch, RuleSet, demoting_value

HASH = "0123456789abcdef" * 4


def rules(**named: Mapping[str, Any]) -> RuleSet:
    return RuleSet(
        decode_rules({name: {"verdict": "hide", **rule} for name, rule in named.items()})
    )


def verdict(rule_set: RuleSet, one: Post, at_ms: int = 0) -> RuleMatch | None:
    return rule_set.verdicts([one], [at_ms])[0]


def is_hit(one: Post, **rule: Any) -> bool:
    return verdict(rules(only=rule), one) == RuleMatch("hide", "only")


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("free money", "Get FREE  money now"),
        ("Free Money", "free,money!"),
        ("free money", "free\U0001f4b0money"),
        ("free money", "fr\u200bee mon\u00adey"),
        ("free money", "\uff46\uff52\uff45\uff45 money"),
        ("free money", "so #free_money"),
        ("stra\u00dfe", "DIE STRASSE"),
        ("4chan", "see 4chan"),
        ("скидка", "Большая СКИДКА сегодня"),
        ("$cash", "earn $CASH now"),
        ("don't panic", "Don\u2019t panic"),
        ("$$$", "earn $$$ today"),
        ("\U0001f346", "look\U0001f346\ufe0f"),
        ("\u514d\u8d39\u9886\u53d6", "\u70b9\u51fb\u514d\u8d39\u9886\u53d6\u7ea2\u5305"),
        (
            "\u092b\u094d\u0930\u0940 \u092a\u0948\u0938\u0947",
            "\u092b\u094d\u0930\u0940 \u092a\u0948\u0938\u0947!",
        ),
        ("caf\u00e9", "cafe\u0301 noir"),
    ],
)
def test_a_phrase_is_found(phrase: str, text: str) -> None:
    assert is_hit(post(text=text), phrases=[phrase])


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("free money", "carefree money"),
        ("free money", "free moneybags"),
        ("free money", "money free"),
        ("free money", "free the money"),
        ("free money", ""),
        ("$$$", "earn $$ today"),
        ("\u0915", "\u0915\u0940"),
    ],
)
def test_a_phrase_is_whole_words_in_a_row(phrase: str, text: str) -> None:
    assert not is_hit(post(text=text), phrases=[phrase])


@pytest.mark.parametrize(
    "text", ["fr\u0435e money", "FR33 m0ney", "get f r e e  m o n e y now", "free m0n\u200bey"]
)
def test_a_phrase_is_found_in_disguise(text: str) -> None:
    assert is_hit(post(text=text), phrases=["free money"])
    assert is_hit(post(text=text), patterns=["(?i)free money"])


@pytest.mark.parametrize(
    "one",
    [
        post(links=("https://evil.example/x",)),
        post(links=("http://www.a.b.EVIL.example:8080",)),
        post(text="look: https://evil.example/y?z"),
        post(text="look at evil.example"),
        post(text="look at ev\u200bil.example"),
        post(media=(Media("https://cdn.evil.example/1.jpg", "image"),)),
    ],
)
def test_a_domain_is_found_with_its_subdomains(one: Post) -> None:
    assert is_hit(one, domains=["evil.example"])
    assert is_hit(one, domains=["WWW.Evil.Example."])


@pytest.mark.parametrize(
    "one",
    [
        post(links=("https://notevil.example/x",)),
        post(links=("https://evil.example.org/x",)),
        post(links=("https://good.example/evil.example",)),
        post(text="evil and example"),
        post(text="mail me@evil.example"),
    ],
)
def test_another_domain_is_none(one: Post) -> None:
    assert not is_hit(one, domains=["evil.example"])


def test_an_international_domain_has_two_spellings() -> None:
    for link in ("https://b\u00fccher.example", "https://xn--bcher-kva.example"):
        for domain in ("b\u00fccher.example", "xn--bcher-kva.example"):
            assert is_hit(post(links=(link,)), domains=[domain])


def test_a_pattern_searches_the_text_as_it_is_and_as_it_looks() -> None:
    assert is_hit(post(text="call 0800-1234 now"), patterns=[r"\b0800-\d{4}\b"])
    assert is_hit(post(text="call 08\u200b00-1234 now"), patterns=[r"\b0800-\d{4}\b"])
    assert is_hit(post(text="a\u200bb"), patterns=["\u200b"])
    assert not is_hit(post(text="CALL"), patterns=["call"])
    assert is_hit(post(text="CALL"), patterns=["(?i)call"])
    assert is_hit(post(text="\ud800 call"), patterns=["call"])


def test_every_pattern_is_looked_for() -> None:
    many = rules(a={"patterns": ["x1|y", "(?i)x2"]}, b={"patterns": ["x3", "x1"]})
    assert [verdict(many, post(text=text)) for text in ("x1", "X2", "x3", "x4")] == [
        RuleMatch("hide", "a"),
        RuleMatch("hide", "a"),
        RuleMatch("hide", "b"),
        None,
    ]


def test_media_are_known_by_their_hash_authors_by_id_labels_without_case() -> None:
    assert is_hit(post(media=(Media("u", "image", HASH.upper()),)), media_sha256=[HASH])
    assert is_hit(post(media=(Media("u", "image", HASH),)), media_sha256=[HASH.upper()])
    assert not is_hit(post(media=(Media("u", "image"),)), media_sha256=[HASH])
    assert is_hit(post(author_id="bob"), authors=["ann", "bob"])
    assert not is_hit(post(author_id="Bob"), authors=["bob"])
    assert is_hit(post(self_labels=("art", "Porn")), self_labels=["porn"])
    assert not is_hit(post(self_labels=("porn2",)), self_labels=["porn"])


def test_allow_goes_before_hide_before_demote_then_by_name() -> None:
    everything = {"phrases": ["river"]}
    names = {
        "z-hide": {**everything, "verdict": "hide"},
        "b-hide": {**everything, "verdict": "hide"},
        "a-demote": {**everything, "verdict": "demote"},
        "y-allow": {"authors": ["ann"], "verdict": "allow"},
    }
    assert verdict(rules(**names), post()) == RuleMatch("allow", "y-allow")
    assert verdict(rules(**names), post(author_id="bob")) == RuleMatch("hide", "b-hide")
    assert verdict(rules(**{"a-demote": names["a-demote"]}), post()) == RuleMatch(
        "demote", "a-demote"
    )


def test_a_rule_holds_until_it_runs_out_by_the_record_s_time() -> None:
    both = rules(
        a={"authors": ["ann"], "expires_at_ms": 1000}, b={"authors": ["ann"], "verdict": "demote"}
    )
    found = both.verdicts([post()] * 3, [999, 1000, 1001])
    assert found == [RuleMatch("hide", "a"), RuleMatch("demote", "b"), RuleMatch("demote", "b")]


@given(
    st.lists(
        st.builds(
            post,
            st.text(st.sampled_from("abx .\u200b$\ud800\u4e00"), max_size=30),
            st.sampled_from(["ann", "bob"]),
            links=st.none() | st.tuples(st.text(max_size=20)),
            self_labels=st.none() | st.tuples(st.text(max_size=5)),
        ),
        max_size=5,
    )
)
def test_a_verdict_does_not_depend_on_the_other_posts(posts: list[Post]) -> None:
    some = rules(
        a={"phrases": ["a b", "$", "x"]},
        b={"patterns": ["bb+", "^x"], "verdict": "demote"},
        c={"authors": ["bob"], "domains": ["a.xx"], "verdict": "allow"},
    )
    together = some.verdicts(posts, [0] * len(posts))
    assert together == [verdict(some, one) for one in posts]


@given(st.text(st.sampled_from("abcXZ0-.ü\u3002_ *:/"), max_size=20))
def test_every_domain_that_is_accepted_is_found(domain: str) -> None:
    try:
        accepted = rules(only={"domains": [domain]})
    except BadSetting:
        return
    assert verdict(accepted, post(links=(f"https://{domain}/x",))) is not None


def test_a_thousand_rules_cost_a_post_hardly_more_than_one() -> None:
    def steps(count: int) -> int:
        named = {
            f"r{i}": {"phrases": [f"zz{i} now"], "domains": [f"z{i}.example"]} for i in range(count)
        }
        some, posts = rules(**named), [post(text="a quiet walk by the river " * 4)] * 10
        return bytecode_steps(lambda: some.verdicts(posts, [0] * 10))

    assert 0 < steps(MAX_RULES) < 1.1 * steps(1)


@pytest.mark.timeout(60)  # a pattern that is tried in every way takes longer than the world
def test_hostile_patterns_do_not_explode() -> None:
    hostile = rules(only={"patterns": ["(a*)*(a*)*(a|aa)+b", "(x+x+)+y"]})
    assert verdict(hostile, post(text="a" * 10_000 + "x" * 10_000)) is None


@pytest.mark.parametrize(
    ("gates", "value"),
    [
        ([GatePolicy()], 0.75),
        ([], 0.5),
        ([GatePolicy(), GatePolicy(hide_at=0.7)], 0.65),
        ([GatePolicy(hide_at=None)], 0.8),
        ([GatePolicy(demote_at=None)], 0.45),
        (
            [
                GatePolicy(),
                GatePolicy(hide_at=0.1, enabled=False),
                GatePolicy(hide_at=0.1, shadow=True),
            ],
            0.75,
        ),
    ],
)
def test_a_value_that_demotes_and_does_not_hide(gates: list[GatePolicy], value: float) -> None:
    assert demoting_value(gates) == float(np.float32(value))


UNIT = st.floats(0, 1) | st.floats(0, 1, width=32)


@given(
    st.lists(
        st.builds(GatePolicy, hide_at=st.none() | UNIT, demote_at=st.none() | UNIT), max_size=4
    )
)
def test_the_demoting_value_never_hides_and_demotes_if_any_can(gates: list[GatePolicy]) -> None:
    value = demoting_value(gates)
    assert 0 <= value <= 1
    assert value == float(np.float32(value))
    hides = [gate.hide_at for gate in gates if gate.hide_at is not None]
    demotes = [gate.demote_at for gate in gates if gate.demote_at is not None]
    assert all(value < hide_at for hide_at in hides if hide_at > 0)
    lowest, highest = min(hides, default=1.0), max(demotes, default=0.0)
    if np.nextafter(np.float32(highest), np.float32(1)) < np.nextafter(
        np.float32(lowest), np.float32(0)
    ):
        assert value >= highest
