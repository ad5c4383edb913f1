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
# What the filter gave before hostile texts were read in linear time.  The first two are spelled out
# to 18 letters a sign, and no text is read further than its longest form.
EARLIER = {
    "ligature of 18": 0.092,
    "ligatures apart": 0.085,
    "spaced letters": 0.644,
    "spaced words": 0.645,
    "spaced in runs": 0.640,
    "torn words": 0.625,
    "lone letters": 0.624,
    "look-alikes": 0.628,
    "combining marks": 0.617,
    "marks in a row": 0.614,
    "expanding": 0.120,
    "bidi": 0.643,
    "zero width": 0.641,
    "international hosts": 0.618,
    "long international hosts": 0.631,
    "international dots": 0.618,
    "one word": 0.634,
    "one word in a script": 0.618,
    "dots": 0.558,
    "dotted letters": 0.621,
    "digits for letters": 0.636,
    "digits in a word": 0.642,
    "signs": 0.634,
    "addresses": 0.708,
    "short addresses": 0.626,
    "schemes": 0.779,
    "mail addresses": 0.706,
    "hashtags": 0.630,
    "mentions": 0.631,
    "emoji": 0.641,
    "angle brackets": 0.627,
    "tags": 0.680,
    "blanks": 0.699,
    "ideographs": 0.593,
    "syllables apart": 0.634,
    "wide letters": 0.630,
    "letters of mathematics": 0.633,
    "capitals that grow": 0.587,
    "every word the same": 0.766,
    "mix": 0.613,
}
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
def test_spam_behind_a_long_text_keeps_its_value(kind: str) -> None:
    spam = " ".join(random.Random(1).choices(SPAM, k=70))[:SPAM_CHARACTERS]
    (value,) = load("spam").score_many([post(text=_behind(kind, spam))])
    if kind == "expanding":
        # Fewer signs are spelled out, so that more of the spam is read.
        assert value > EARLIER[kind]
    else:
        assert value == pytest.approx(EARLIER[kind], abs=0.02)


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
