"""The value of a setting from the words of a command line; without Kafka."""

import json
from typing import Any

import pytest

from builders.golden import Golden
from feedmill.cli.setting_value import parse_setting_value
from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.config_log import ConfigLog, fold_log

WEIGHTS = {"quality": 0.9, "engagement": 0.1, "scale": {"engagement": 20}}
RULES = {"bad-links": {"verdict": "hide", "domains": ["evil.example"]}}


def log_of(settings: dict[str, Any]) -> ConfigLog:
    records = [
        TopicRecord(offset, 0, key.encode(), json.dumps({"value": value}).encode())
        for offset, (key, value) in enumerate(settings.items())
    ]
    return fold_log(records, SignalNames.parse("novelty:objective"))


def value_of(log: ConfigLog, key: str, *words: str) -> Any:
    return parse_setting_value(log, key, words)


GATES = {"gates": {"spam": {"hide_at": 0.8}}}
GIVEN: tuple[tuple[dict[str, Any], str, tuple[str, ...], Any], ...] = (
    # JSON is the whole value; what is no object is left to the settings to refuse.
    (GATES, "gates", (' {"nsfw": {"shadow": true}}',), {"nsfw": {"shadow": True}}),
    ({}, "weights", ("[1]",), [1]),
    ({}, "weights", ('"text"',), "text"),
    # `null` removes the setting, or a rule; under a field, or another setting, it is a value.
    ({}, "gates", ("null",), None),
    ({"rules/spam": RULES}, "rules/spam", ("bad-links=null",), {}),
    ({"rules/spam": RULES}, "rules/spam", ("nobody=null",), RULES),
    (
        {"rules/spam": RULES},
        "rules/spam",
        ("bad-links.expires_at_ms=null",),
        {"bad-links": {**RULES["bad-links"], "expires_at_ms": None}},
    ),
    ({}, "gates", ("spam=null",), {"spam": None}),
    # Aliases stand for the objectives of weights alone.
    (
        {"weights": WEIGHTS},
        "weights",
        ("alpha=1", "beta=2", "scale.beta=30"),
        {"quality": 1, "engagement": 2, "scale": {"engagement": 30}},
    ),
    (
        {},
        "weights/a",
        ('{"alpha": 1, "beta": 2, "scale": {"alpha": 3}}',),
        {"quality": 1, "engagement": 2, "scale": {"quality": 3}},
    ),
    ({}, "feeds/a", ("alpha=1",), {"alpha": 1}),
    # The first pairs of a feed start from the general weights, those of all from the built-in ones,
    # those of other settings from nothing.
    ({"weights": WEIGHTS}, "weights/a", ("alpha=0.5",), {**WEIGHTS, "quality": 0.5}),
    ({}, "weights", ("beta=2",), {"quality": 0.5, "engagement": 2}),
    ({}, "weights/a", ("beta=2",), {"quality": 0.5, "engagement": 2}),
    (GATES, "gates/a", ("nsfw.shadow=true",), {"nsfw": {"shadow": True}}),
    # What is no JSON is text.
    (
        {},
        "feeds/a",
        ("a=text", "b=[1", "c=", "d=1=2", 'e="5"', "f=[1]"),
        {"a": "text", "b": "[1", "c": "", "d": "1=2", "e": "5", "f": [1]},
    ),
)


@pytest.mark.parametrize(("before", "key", "words", "value"), GIVEN)
def test_words_become_the_value(
    before: dict[str, Any], key: str, words: tuple[str, ...], value: Any
) -> None:
    log = log_of(before)
    assert value_of(log, key, *words) == value
    # The setting itself is not changed.
    assert all(log.written_value(name) == written for name, written in before.items())


WRONG = (
    ("weights", "alpha"),
    ("weights", "=1"),
    ("weights", "scale.=1"),
    ("weights", "{1"),
    ("weights", "[" * 100_000),
    ("weights", '{"alpha": 1, "quality": 2, "beta": 1}'),
    ("weights", '{"alpha": 1, "beta": 1, "scale": {"beta": 1, "engagement": 1}}'),
    ("weights", "alpha=1", "quality.x=1"),
    ("rules/spam", "=hide"),
)


def test_wrong_words_are_refused_with_the_way_out(golden: Golden) -> None:
    lines = []
    for key, *words in WRONG:
        with pytest.raises(UsageError) as error:
            value_of(log_of({}), key, *words)
        lines.append(f"{key} {' '.join(words)[:80]}\n    {error.value}\n")
    golden.check("setting_value_refusals.txt", "".join(lines))
