import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.errors import BadSetting
from feedmill.events.feeds import FeedSpec
from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings, SettingsDraft
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective,grumble:cost")
WEIGHTS = {"quality": 1, "engagement": 2}


def folded(*records: tuple[str, Any], names: SignalNames = NAMES) -> Settings:
    """The settings after these records, at offsets 0, 1, 2…; None removes."""
    settings = Settings(names=names)
    for offset, (key, value) in enumerate(records):
        settings = settings.fold(key.encode(), record(value), offset)
    return settings


def record(value: Any, **more: Any) -> bytes | None:
    return None if value is None else json.dumps({"value": value, **more}).encode()


def refusal(settings: Settings, key: bytes | None, value: bytes | None) -> str:
    with pytest.raises(BadSetting) as caught:
        settings.fold(key, value, 9)
    return str(caught.value)


def test_256_kib_are_not_too_much() -> None:
    value = json.dumps({"value": WEIGHTS}).encode()
    assert Settings().fold(b"weights", value.ljust(256 * 1024), 0).offsets == {"weights": 0}


def test_omitted_fields_take_the_values_of_the_contract() -> None:
    weights = folded(("weights", WEIGHTS), names=SignalNames()).weights_of("global").as_dict()
    assert weights == {
        "quality": 1.0,
        "engagement": 2.0,
        "scale": {"quality": 1.0, "engagement": 36.0},
        "half_life_hours": 24.0,
        "max_per_author": 3,
        "explore": 0.0,
        "costs": {"hide": 4.0, "report": 18.0},
    }


def test_null_means_no_decay_and_no_limit() -> None:
    value = {**WEIGHTS, "half_life_hours": None, "max_per_author": None}
    weights = folded(("weights", value)).weights_of("global")
    assert (weights.half_life_hours, weights.max_per_author) == (None, None)


def test_a_feed_without_a_setting_of_its_own_follows_its_pattern() -> None:
    settings = folded(("feeds/community:*", {"size": 7}), ("feeds/x", {"window_hours": 1}))
    assert settings.feed_of("community:python") == FeedSpec(size=7)
    assert settings.feed_of("lang:en") == FeedSpec()
    assert settings.feed_of("global") == FeedSpec()
    assert settings.feed_of("x") == FeedSpec(window_hours=1.0)
    assert settings.feed_of("nobody") is None
    assert settings.named_feeds == ("global", "x")


def test_a_pattern_may_limit_how_many_feeds_it_makes() -> None:
    spec = folded(("feeds/lang:*", {"max_feeds": 5})).feed_of("lang:en")
    assert spec == FeedSpec(max_feeds=5)


@pytest.mark.parametrize("empty", [None, b""])
def test_an_empty_value_removes_a_setting(empty: bytes | None) -> None:
    settings = folded(("weights", WEIGHTS), ("gates/x", {"spam": {"shadow": True}}))
    without = settings.fold(b"weights", empty, 2)
    assert without.weights_of("global") == Settings(names=NAMES).weights_of("global")
    assert without.offsets == {"gates/x": 1}
    assert without.change_offsets == {"gates/x": 1, "weights": 2}
    assert without.offset == 2
    assert without.fold(b"gates/x", empty, 3).gates_of("x")["spam"] == GatePolicy()
    assert without.fold(b"feeds/never", empty, 3).offset == 3  # nothing there: nothing to do


def test_a_value_of_null_removes_a_setting_as_an_empty_one_does() -> None:
    settings = folded(("weights", WEIGHTS), ("gates/x", {"spam": {"shadow": True}}))
    said = b'{"value": null, "by": "ann", "note": "was a test", "if_offset": 0}'
    assert settings.fold(b"weights", said, 2) == settings.fold(b"weights", b"", 2)
    assert settings.fold(b"feeds/never", b'{"value": null}', 3).offset == 3


def test_a_removal_is_refused_as_any_other_record_is() -> None:
    settings = folded(("weights", WEIGHTS))
    assert "`if_offset` is 7" in refusal(settings, b"weights", b'{"value": null, "if_offset": 7}')
    assert "unknown field `why`" in refusal(settings, b"weights", b'{"value": null, "why": 1}')
    assert "missing required field `value`" in refusal(settings, b"weights", b'{"note": "x"}')
    assert "Expected one of weights" in refusal(settings, b"wieghts", b'{"value": null}')


def test_if_offset_is_compared_with_the_last_applied_record_of_the_key() -> None:
    settings = Settings()
    settings = settings.fold(b"weights", record(WEIGHTS, if_offset=-1), 4)
    assert "`if_offset` is -1, but the record in force has the offset 4" in refusal(
        settings, b"weights", record(WEIGHTS, if_offset=-1)
    )
    settings = settings.fold(b"gates", record({}), 5).skip(6)  # 6 was refused
    settings = settings.fold(b"weights", record(WEIGHTS, if_offset=4), 7)
    assert settings.offsets == {"weights": 7, "gates": 5}
    assert "the record in force has the offset -1" in refusal(
        settings, b"weights/x", record(WEIGHTS, if_offset=7)
    )
    settings = settings.fold(b"weights", None, 8)
    assert settings.fold(b"weights", record(WEIGHTS, if_offset=-1), 9).offsets["weights"] == 9


def test_a_refused_record_is_dealt_with_and_changes_nothing() -> None:
    settings = folded(("weights", WEIGHTS))
    assert settings.skip(5).offset == 5
    assert settings.skip(5).weights_of("global") == settings.weights_of("global")
    assert settings.skip(5).offsets == settings.offsets


_TARGETS = ("", "/global", "/a", "/lang:en")
_VALUES: tuple[Any, ...] = (
    WEIGHTS,
    {"spam": {"hide_at": 0.5}},
    {"size": 5},
    {"size": -1},
    {},
    None,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("weights", "gates", "feeds", "rules", "nothing")),
            st.sampled_from(_TARGETS),
            st.sampled_from(_VALUES),
        ),
        max_size=12,
    ),
    st.integers(0, 12),
)
def test_a_draft_of_many_records_is_what_one_after_another_gives(
    records: list[tuple[str, str, Any]], first: int
) -> None:
    one_by_one = [Settings(NAMES)]
    draft = SettingsDraft(one_by_one[0])
    for offset, (kind, target, value) in enumerate(records):
        if offset == first:  # one draft for those before, another for those after
            draft = SettingsDraft(draft.settings())
        key, content = f"{kind}{target}".encode(), record(value)
        try:
            one_by_one.append(one_by_one[-1].fold(key, content, offset))
        except BadSetting as error:
            one_by_one.append(one_by_one[-1].skip(offset))
            with pytest.raises(BadSetting, match=re.escape(str(error))):
                draft.fold(key, content, offset)
            draft.skip(offset)
        else:
            draft.fold(key, content, offset)
    assert draft.settings() == one_by_one[-1]
    refused_all = all(one.says_as(one_by_one[0]) for one in one_by_one)
    assert draft.settings().says_as(one_by_one[0]) == refused_all


def test_folding_changes_no_older_settings() -> None:
    before = folded(("gates", {"spam": {"hide_at": 0.8}}))
    before.fold(b"gates", record({"spam": {"hide_at": 0.7}}), 1)
    before.fold(b"weights", record(WEIGHTS), 1)
    assert before == folded(("gates", {"spam": {"hide_at": 0.8}}))


def test_rules_are_for_the_gates_that_have_a_filter() -> None:
    names = NAMES.with_filters({"spam": GatePolicy(), "extreme": GatePolicy()})
    rule = {"r": {"verdict": "hide", "authors": ["ann"]}}
    assert set(folded(("rules/extreme", rule), names=names).rules) == {"extreme"}
    reason = refusal(Settings(names), b"rules/nsfw", record(rule))
    assert reason == "Expected `rules/<filter>`, one of spam, extreme, got 'rules/nsfw'"
