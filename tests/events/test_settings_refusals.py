"""Which settings are refused, and with which reasons: `refused_settings.txt`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from builders.events import settings_of
from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events import feeds, rules, settings, weights
from feedmill.events.errors import BadSetting
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective,grumble:cost")
WEIGHTS = {"quality": 1, "engagement": 2}
BAD_WEIGHTS: tuple[object, ...] = (-1, 2e6, 10**30, True, "1", None, [])


def hide(**entries: Any) -> dict[str, Any]:
    """A setting of one rule that hides."""
    return {"a": {"verdict": "hide", **entries}}


# By key the values that are refused.
VALUES: list[tuple[str, list[Any]]] = [
    (
        "weights",
        [
            {"quality": 1},
            {**WEIGHTS, "alpha": 1},
            {**WEIGHTS, "alpah": 1},
            {**WEIGHTS, "half_life": 12},
            {**WEIGHTS, "scale": {"qualty": 1}},
            {**WEIGHTS, "no_such_thing": 1},
            *({"quality": value, "engagement": 2} for value in BAD_WEIGHTS),
            {"quality": 0, "engagement": 0},
            {**WEIGHTS, "scale": {"quality": 0}},
            {**WEIGHTS, "scale": {"spam": 1}},
            {**WEIGHTS, "costs": {"quality": 1}},
            {**WEIGHTS, "costs": {"grumbel": 1}},
            {**WEIGHTS, "costs": {"grumble": -1}},
            {**WEIGHTS, "costs": {"grumble": 10_001}},
            {**WEIGHTS, "costs": 20},
            {**WEIGHTS, "grumble": 1},
            {"quality": 0, "engagement": 0, "costs": {"grumble": 1}},
            {**WEIGHTS, "half_life_hours": 0},
            {**WEIGHTS, "half_life_hours": 1e5},
            {**WEIGHTS, "max_per_author": 0},
            {**WEIGHTS, "max_per_author": 2.5},
            {**WEIGHTS, "explore": 0.1},
            [],
        ],
    ),
    (
        "gates",
        [
            {"quality": {}},
            {"spam": 1},
            {"spam": {"hide": 1}},
            {"spam": {"demote_add": 1}},
            {"spam": {"hide_at": 1.1}},
            {"spam": {"enabled": 1}},
            {"spam": {"enabled": None}},
            {"nsfw": {"demote_factor": 0}},
            {"nsfw": {"on_failure": "maybe"}},
            {"nsfw": {"grace_s": -1}},
        ],
    ),
    (
        "feeds/x",
        [
            {"match": {"communities": ["a b"]}},
            {"match": {"authors": ["a\u200b"]}},
            {"match": {"tags": []}},
            {"size": 0},
            {"size": 10_001},
            {"max_feeds": 5},
        ],
    ),
    ("feeds/lang:*", [{"match": {"langs": ["en"]}}]),
    ("readers/nowhere", [{}]),
    ("readers/global", [{"weights": {"quality": [2, 0]}}, {"adjusts": [0, 1]}]),
    ("rates/global", [{}]),
    (
        "rates",
        [
            {"click": {"base": 0.1, "strength": 10}},
            {"reply": {"base": 0.1}},
            {"reply": {"base": 0, "strength": 10}},
            {"reply": {"base": 1, "strength": 10}},
            {"reply": {"base": 0.1, "strength": 0}},
            {"reply": {"base": 0.1, "strenght": 10}},
            {"reply": {"base": True, "strength": 10}},
            {"reply": 0.1},
        ],
    ),
    (
        "rules/spam",
        [
            {"a b": {"verdict": "hide", "authors": ["x"]}},
            {"a": 5},
            {"a": {"authors": ["x"]}},
            {"a": {"verdict": "burn", "authors": ["x"]}},
            hide(),
            hide(phrase=["x"]),
            hide(phrases=["!?"]),
            hide(domains=["example.org/path"]),
            hide(domains=["https://example.org"]),
            hide(domains=["a..example"]),
            hide(media_sha256=["d41d8cd9"]),
            hide(authors=["a\u200b"]),
            hide(authors=["x"], expires_at_ms=-1),
            hide(patterns=["(free"]),
            hide(patterns=["free(?=money)"]),
            hide(patterns=[r"(\pL{100}){9}"]),
            hide(patterns=["x*"]),
            hide(patterns=[r"\Qa.b"]),
            {f"r{i}": {"verdict": "hide", "authors": ["x"]} for i in range(rules.MAX_RULES + 1)},
            hide(authors=[f"author{i}" for i in range(rules.MAX_ENTRIES + 1)]),
            {f"r{i}": hide(patterns=[r"\pL{10}"])["a"] for i in range(9)},
        ],
    ),
]

# Keys that are refused whatever the value.
KEYS: list[bytes | None] = [
    *(None, b"", b"\xff", b"Weights", b"feeds", b"rules", b"rules/extreme"),
    *(
        b"rankings",
        b"experiments/",
        b"experiments/a b",
        b"weights/",
        b"weights/a b",
        b"weights/a/b",
    ),
    *(b"weights/community:*", b"weights/topic:x", b"weights/x@arm", b"gates/community:"),
    # Long keys are cut.
    *(b"\xff" * 99, b"x" * 99, b"rankings/" + b"x" * 99, b"rules/" + b"x" * 99),
    *(b"weights/@" + b"x" * 99, b"weights/" + b"x" * 99),
]

# Values that are no record of a setting.
RECORDS: list[bytes] = [
    b'{"value":{"quality":NaN,"engagement":1}}',
    b'{"value":{"quality":1e400,"engagement":1}}',
    b'{"value":{"quality":1,"engagement":1},"note":"\xff"}',
    b'{"value":{"quality":' + b"[" * 60_000,
    b'{"value":{"quality":1,"engagement":1}',
    b'{"quality":1,"engagement":1}',
    b'{"value":{"quality":1,"engagement":1},"why":1}',
    b'{"by":"ann"}',
    b'{"value":{},"if_offset":true}',
    b'{"value":{},"if_offset":1.0}',
    b'{"value":{},"if_offset":7}',
    b'{"value":{},"by":7}',
    b"[]",
    b" " * (256 * 1024 + 1),
]


def records() -> Iterator[tuple[str, bytes | None, bytes]]:
    """Title, key and value of each refused record."""
    for key, values in VALUES:
        for value in values:
            yield f"{key} = {_short(value)}", key.encode(), json.dumps({"value": value}).encode()
    for bad_key in KEYS:
        yield f"key {_short(bad_key)}", bad_key, json.dumps({"value": WEIGHTS}).encode()
    for record in RECORDS:
        yield f"weights: record {_short(record)}", b"weights", record


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 90 else f"{text[:70]}… of {len(text)} characters"


@pytest.fixture(scope="module")
def refusals() -> Refusals:
    refused = Refusals(BadSetting, settings, rules, weights, feeds)
    before = settings_of(("weights", WEIGHTS), names=NAMES)
    for title, key, value in records():
        reason = refused.add(title, before.fold, key, value, 9)
        assert len(reason) < 300, title
    assert before == settings_of(("weights", WEIGHTS), names=NAMES)
    return refused


def test_settings_are_refused_whole_with_their_reasons(refusals: Refusals, golden: Golden) -> None:
    golden.check("refused_settings.txt", refusals.text())


def test_no_refusal_of_a_setting_is_left_out(refusals: Refusals) -> None:
    assert refusals.not_reached() == []
