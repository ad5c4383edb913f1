"""Operators' rules, set while everything runs: what matches is hidden, demoted or allowed."""

from collections.abc import Iterable
from typing import Any

import pytest

from builders.engine import Engine
from builders.engine_topics import Json
from builders.waiting import until

pytestmark = pytest.mark.stack

HASH = "0123456789abcdef" * 4
GATES = {
    "spam": {"hide_at": 0.5, "demote_at": 0.3},
    "nsfw": {"enabled": False},
    "misinformation": {"enabled": False},
}
LINKS: Json = {
    "verdict": "hide",
    "domains": ["evil.example"],
    "media_sha256": [HASH],
    "phrases": ["miracle cure"],
}


@pytest.fixture(scope="module")
def engine(start_shared_engine: Any) -> Engine:
    engine: Engine = start_shared_engine("spam+combiner")
    engine.wait_applied(engine.set("gates", GATES))
    return engine


def decided(engine: Engine, post_id: str, text: str = "A walk by the river", **more: Any) -> Json:
    """What is true of a new post once its present version has a signal."""
    offset = engine.post(post_id, text, **more)

    def scored() -> Json | None:
        truth = engine.truth(post_id)
        same = int(truth.get("post_offset", -1)) == truth.get("spam", {}).get("post_offset")
        return truth if same and int(truth["post_offset"]) == offset else None

    truth: Json = until(scored)
    return truth


def outcome(truth: Json) -> tuple[str, str | None]:
    return truth["decision"], truth.get("decided_by")


def test_what_a_rule_names_is_hidden_and_the_rule_is_named(engine: Engine) -> None:
    assert outcome(decided(engine, "before", "miracle cure")) == ("show", None)
    engine.wait_applied(engine.set("rules/spam", {"bad-links": LINKS}))
    posts: dict[str, Json] = {
        "link": {"links": ["https://www.evil.example/x"]},
        "in-text": {"text": "look at shop.evil.example/now"},
        "media": {"media": [{"url": "u", "kind": "image", "sha256": HASH.upper()}]},
        "phrase": {"text": "A Mira\u200bcle\U0001f48aCURE!"},
    }
    for post_id, more in posts.items():
        truth = decided(engine, post_id, **more)
        assert outcome(truth) == ("hide", "rule:bad-links")
        assert (truth["spam"]["model"], truth["spam"]["value"]) == ("rule", 1.0)
    # It was there before the rule: the backfill finds it.
    until(lambda: outcome(engine.truth("before")) == ("hide", "rule:bad-links"))
    assert outcome(decided(engine, "other", links=["https://notevil.example"])) == ("show", None)
    until(lambda: "other" in engine.order())
    assert not {"before", "link", "in-text", "media", "phrase"} & set(engine.order())


COPIED = "Come by our little bakery this spring, every single loaf we bake there has a story"


def test_a_removed_rule_leaves_the_filters_own_signal_of_a_campaign(engine: Engine) -> None:
    engine.wait_applied(engine.set("rules/spam", {}))
    copies = [f"copy-{i}" for i in range(10)]
    for post_id in copies:
        decided(engine, post_id, COPIED)
    # The topics have what Redis shows once it is committed.
    until(lambda: set(copies) <= set(engine.latest("signals.spam")))
    before = {p: engine.latest("signals.spam")[p] for p in copies}
    assert before["copy-9"]["reason"].startswith("copy of 9 posts by 10 authors")
    assert outcome(engine.truth("copy-9"))[0] == "hide"
    for rule in ({"verdict": "allow"}, {"verdict": "demote"}):
        bakers = {"bakers": {**rule, "phrases": ["little bakery"]}}
        engine.wait_applied(engine.set("rules/spam", bakers))
        until(lambda: with_rule(engine, copies) == dict.fromkeys(copies, "rule:bakers"))
    late = decided(engine, "copy-10", COPIED)
    assert outcome(late) == ("demote", "rule:bakers")
    engine.set("rules/spam", {"other": {"verdict": "hide", "phrases": ["miracle cure"]}})
    until(lambda: not with_rule(engine, [*copies, "copy-10"]))
    wanted = {p: without_time(signal) for p, signal in before.items()}

    def stored() -> Json:
        latest = engine.latest("signals.spam")
        return {p: without_time(latest[p]) for p in copies}

    until(lambda: stored() == wanted)
    late_signal = engine.latest("signals.spam")["copy-10"]
    assert late_signal["reason"].startswith("copy of 10 posts by 11 authors")
    until(lambda: outcome(engine.truth("copy-10"))[0] == "hide")
    assert engine.complaints() == []


def without_time(signal: Json) -> Json:
    """A signal without when it was written, and under which change of the rules."""
    return {name: value for name, value in signal.items() if name not in ("at_ms", "revision")}


def with_rule(engine: Engine, posts: Iterable[str]) -> dict[str, str]:
    """By post which rule decided."""
    truths = engine.truths(list(posts))
    deciders = {post_id: truth.get("decided_by", "") for post_id, truth in truths.items()}
    return {post_id: by for post_id, by in deciders.items() if by.startswith("rule:")}
