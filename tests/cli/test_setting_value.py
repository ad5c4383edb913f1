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


def log_of(declared: str = "", **settings: Any) -> ConfigLog:
    records = [
        TopicRecord(offset, 0, key.replace("__", "/").encode(), json.dumps(record).encode())
        for offset, (key, value) in enumerate(settings.items())
        for record in ({"value": value},)
    ]
    return fold_log(records, SignalNames.parse(declared))


def value_of(log: ConfigLog, key: str, *words: str) -> Any:
    return parse_setting_value(log, key, words)


def test_json_is_the_whole_value() -> None:
    log = log_of(gates={"spam": {"hide_at": 0.8}})
    assert value_of(log, "gates", ' {"nsfw": {"shadow": true}}') == {"nsfw": {"shadow": True}}


def test_null_removes_the_setting() -> None:
    assert value_of(log_of(), "gates", "null") is None


@pytest.mark.parametrize("word", ["[1]", '"text"'])
def test_json_that_is_no_object_is_left_to_the_settings_to_refuse(word: str) -> None:
    assert value_of(log_of(), "weights", word) == json.loads(word)


def test_the_setting_itself_is_not_changed() -> None:
    log = log_of(weights=WEIGHTS)
    value_of(log, "weights", "scale.quality=2")
    assert log.written_value("weights") == WEIGHTS


def test_aliases_stand_for_the_objectives_of_weights_alone() -> None:
    log = log_of(weights=WEIGHTS)
    changed = value_of(log, "weights", "alpha=1", "beta=2", "scale.beta=30")
    assert changed == {"quality": 1, "engagement": 2, "scale": {"engagement": 30}}
    given = value_of(log, "weights/a", '{"alpha": 1, "beta": 2, "scale": {"alpha": 3}}')
    assert given == {"quality": 1, "engagement": 2, "scale": {"quality": 3}}
    assert value_of(log, "feeds/a", "alpha=1") == {"alpha": 1}


def test_the_first_pairs_of_a_feed_start_from_the_general_weights() -> None:
    log = log_of(weights=WEIGHTS)
    assert value_of(log, "weights/a", "alpha=0.5") == {**WEIGHTS, "quality": 0.5}


def test_the_first_pairs_of_all_start_from_the_built_in_weights() -> None:
    log = log_of("novelty:objective")
    expected = {"quality": 0.5, "engagement": 2}
    assert value_of(log, "weights", "beta=2") == expected
    assert value_of(log, "weights/a", "beta=2") == expected


def test_the_first_pairs_of_other_settings_start_from_nothing() -> None:
    log = log_of(gates={"spam": {"hide_at": 0.8}})
    assert value_of(log, "gates/a", "nsfw.shadow=true") == {"nsfw": {"shadow": True}}


def test_what_is_no_json_is_text() -> None:
    changed = value_of(log_of(), "feeds/a", "a=text", "b=[1", "c=", "d=1=2", 'e="5"', "f=[1]")
    assert changed == {"a": "text", "b": "[1", "c": "", "d": "1=2", "e": "5", "f": [1]}


def test_a_rule_is_removed_by_null_and_its_field_is_not() -> None:
    log = log_of(rules__spam=RULES)
    assert value_of(log, "rules/spam", "bad-links=null") == {}
    assert value_of(log, "rules/spam", "nobody=null") == RULES
    changed = value_of(log, "rules/spam", "bad-links.expires_at_ms=null")
    assert changed == {"bad-links": {**RULES["bad-links"], "expires_at_ms": None}}


def test_null_under_another_setting_is_a_value() -> None:
    assert value_of(log_of(), "gates", "spam=null") == {"spam": None}


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
            value_of(log_of(), key, *words)
        lines.append(f"{key} {' '.join(words)[:80]}\n    {error.value}\n")
    golden.check("setting_value_refusals.txt", "".join(lines))
