"""The value of a setting from the words of a command line; without Kafka."""

import json
from typing import Any

import pytest

from builders.golden import Golden
from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.operations.setting_changes import parse_setting_value
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
# What is set before, the key, and the words: `setting_values.txt` has the values.
GIVEN: tuple[tuple[dict[str, Any], str, tuple[str, ...]], ...] = (
    # JSON is the whole value; what is no object is left to the settings to refuse.
    (GATES, "gates", (' {"nsfw": {"shadow": true}}',)),
    *(({}, "weights", (word,)) for word in ("[1]", '"text"')),
    # `null` removes the setting, or a rule; under a field, or another setting, it is a value.
    *(({}, "gates", (word,)) for word in ("null", "spam=null")),
    *(
        ({"rules/spam": RULES}, "rules/spam", (word,))
        for word in ("bad-links=null", "nobody=null", "bad-links.expires_at_ms=null")
    ),
    # Aliases stand for the objectives of weights alone.
    ({"weights": WEIGHTS}, "weights", ("alpha=1", "beta=2", "scale.beta=30")),
    ({}, "weights/a", ('{"alpha": 1, "beta": 2, "scale": {"alpha": 3}}',)),
    ({}, "feeds/a", ("alpha=1",)),
    # The first pairs of a feed start from the general weights, those of all from the built-in ones,
    # those of other settings from nothing.
    ({"weights": WEIGHTS}, "weights/a", ("alpha=0.5",)),
    *(({}, key, ("beta=2",)) for key in ("weights", "weights/a")),
    (GATES, "gates/a", ("nsfw.shadow=true",)),
    # What is no JSON is text.
    ({}, "feeds/a", ("a=text", "b=[1", "c=", "d=1=2", 'e="5"', "f=[1]")),
)


def test_words_become_the_value(golden: Golden) -> None:
    lines = []
    for before, key, words in GIVEN:
        log = log_of(before)
        value = json.dumps(value_of(log, key, *words))
        lines.append(f"{json.dumps(before)}\n    {key} {' '.join(words)}\n    {value}\n")
        # The setting itself is not changed.
        assert all(log.written_value(name) == written for name, written in before.items())
    golden.check("setting_values.txt", "".join(lines))


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
