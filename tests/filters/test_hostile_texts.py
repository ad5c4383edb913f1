"""Spam at the end of a long text is seen, whatever stands before it; all texts are drawn."""

import random

import pytest

from builders.events import post
from builders.hostile_texts import SPAM, hostile_texts, ordinary_text
from builders.lists import post_list
from feedmill.events.rules import decode_rules
from feedmill.filters.lists import ListKind, ListSet
from feedmill.filters.registry import load
from feedmill.filters.rules import RuleSet

ORDINARY_CHARACTERS, HOSTILE_CHARACTERS, SPAM_CHARACTERS = 15_000, 1_000, 3_900
HOSTILE = hostile_texts(HOSTILE_CHARACTERS)
# Spelled out to so many letters that no text is read as far as the spam behind them.
TOO_LONG = {"ligature of 18", "ligatures apart", "expanding"}
PHRASE, DOMAIN = "claim the golden reward", "prizes.example"
END = f" Claim the golden  reward at https://{DOMAIN}/now"
RULES = {
    "phrase": {"phrases": [PHRASE]},
    "pattern": {"patterns": [r"golden\s+reward"]},
    "domain": {"domains": [DOMAIN]},
}
LISTS: dict[ListKind, str] = {"phrases": PHRASE, "domains": DOMAIN}


def _behind(kind: str, end: str) -> str:
    return f"{ordinary_text(ORDINARY_CHARACTERS)}\n{HOSTILE[kind]}\n{end}"


@pytest.mark.parametrize("kind", HOSTILE)
def test_spam_behind_a_long_text_is_seen(kind: str) -> None:
    spam = " ".join(random.Random(1).choices(SPAM, k=70))[:SPAM_CHARACTERS]
    with_spam, without = load("spam").score_many(
        [post(text=_behind(kind, end)) for end in (spam, "")]
    )
    assert with_spam > max(0.55, without) or kind in TOO_LONG


@pytest.mark.parametrize("kind", HOSTILE)
def test_rules_and_lists_match_behind_a_long_text(kind: str) -> None:
    late, without = (post(text=_behind(kind, end)) for end in (END, ""))
    for name, entries in RULES.items():
        rules = RuleSet(decode_rules({name: {**entries, "verdict": "hide"}}))
        found, other = rules.verdicts([late, without], [0, 0])
        assert found is not None and found.rule == name
        assert other is None
    for list_kind, entry in LISTS.items():
        found, other = ListSet([post_list(list_kind, [entry])]).verdicts([late, without])
        assert found is not None and found.verdict == "hide"
        assert other is None
