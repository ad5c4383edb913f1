"""The log of `config` as an operator sees it."""

import json
from typing import Any

import msgspec
import pytest

from builders.golden import Golden
from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.signal import SignalNames
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.config_log import ConfigLog, effective_value, encode_record, fold_log

WEIGHTS = {"quality": 1.0, "engagement": 2.0}
HEAVY = {"quality": 9.0, "engagement": 2.0}


def log_of(*records: tuple[str, Any], names: SignalNames | None = None) -> ConfigLog:
    """The log of these records at offsets 0, 1, …; a value that is no bytes is encoded."""
    stored = [
        TopicRecord(offset, 1000 + offset, key.encode(), _bytes(value))
        for offset, (key, value) in enumerate(records)
    ]
    return fold_log(stored, names or SignalNames())


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else json.dumps(value).encode()


# --- entries ----------------------------------------------------------------------------------


def test_a_refused_record_has_its_reason_and_changes_nothing() -> None:
    log = log_of(("weights", {"value": WEIGHTS}), ("weights", {"value": {"quality": -1}}))
    applied, refused = log.entries
    assert (applied.applied, refused.applied) == (True, False)
    assert refused.as_dict()["reason"] == "Expected `float` >= 0.0 - at `$.value.quality`"
    assert log.settings.weights_of("").objectives == WEIGHTS
    assert log.settings.offset == 1


@pytest.mark.parametrize(
    "value",
    [b"{", b"\xff", b"[1]", b"[" * 100_000, b'{"value": [1], "by": 7, "note": {}}', b"7"],
    ids=range(6),
)
def test_what_cannot_be_decoded_is_an_entry_without_content(value: bytes) -> None:
    records = [TopicRecord(0, 5, key, value) for key in (b"weights", b"\xffa", None)]
    entries = fold_log(records, SignalNames()).entries
    assert [entry.key for entry in entries] == ["weights", "\ufffda", ""]
    for entry in entries:
        assert (entry.value, entry.by, entry.note) == (None, None, None)
        assert entry.refusal


def test_the_current_entry_is_the_last_applied_one() -> None:
    refused = ("weights", {"value": {"quality": -1}})
    log = log_of(("weights", {"value": WEIGHTS}), refused)
    entry = log.current("weights")
    assert entry is not None
    assert (entry.offset, log.written_value("weights")) == (0, WEIGHTS)
    removed = log_of(("weights", {"value": WEIGHTS}), ("weights", None))
    assert removed.current("weights") is None
    assert removed.written_value("weights") is removed.written_value("gates") is None


# --- rollback ---------------------------------------------------------------------------------

REFUSED: tuple[str, Any] = ("weights", {"value": {"quality": -1}})
THREE: tuple[tuple[str, Any], ...] = (
    ("weights", {"value": WEIGHTS}),
    ("gates", {"value": {}}),
    REFUSED,
    ("weights", {"value": HEAVY}),
)


def test_a_rollback_to_a_removal_has_no_value() -> None:
    removed = log_of(("weights", {"value": WEIGHTS}), ("weights", None), ("weights", THREE[3][1]))
    target = removed.rollback_target("weights", None)
    assert target is not None
    assert (target.offset, target.value) == (1, None)


def test_other_rollbacks_are_refused(golden: Golden) -> None:
    asked = (("weights", 2), ("weights", 1), ("weights", 9), ("feeds/mine", None))
    lines = []
    for key, to in asked:
        with pytest.raises(UsageError) as error:
            log_of(*THREE).rollback_target(key, to)
        lines.append(f"{key} --to {to}\n    {error.value}\n")
    golden.check("rollback_refusals.txt", "".join(lines))


# --- effective values -------------------------------------------------------------------------


def test_an_experiment_is_shown_with_its_defaults_and_ends_by_a_value() -> None:
    arms = [{"name": "a", "share": 5000}, {"name": "b", "share": 5000, "weights": {"quality": 1}}]
    value = {"arms": arms, "feeds": ["global"], "salt": "s", "planned_n": 1000}
    key, removal = "experiments/one", ("experiments/one", {"value": None})
    log = log_of((key, {"value": value}), removal, (key, {"value": {**value, "stopped": True}}))
    assert [entry.applied for entry in log.history(key)] == [True, False, True]
    shown = effective_value(log.settings, key)
    assert (shown["stopped"], shown["traffic"], len(shown["arms"])) == (True, 10_000, 2)
    assert effective_value(log.settings, "experiments/two") == {}


def test_rules_and_feeds_are_shown_as_plain_objects() -> None:
    rule = {"verdict": "hide", "domains": ["evil.example"]}
    settings = log_of(
        ("rules/spam", {"value": {"r": rule}}), ("feeds/mine", {"value": {"size": 7}})
    ).settings
    assert json.loads(json.dumps(effective_value(settings, "rules/spam"))) == {"r": rule}
    assert effective_value(settings, "rules/nsfw") == {}
    assert effective_value(settings, "feeds/mine")["size"] == 7
    assert effective_value(settings, "feeds/nobody") == {}
    declared = log_of(names=SignalNames.parse("extreme:gate,novelty:objective")).settings
    assert effective_value(declared, "weights")["quality"] == 0.5
    assert "extreme" in effective_value(declared, "gates")


@pytest.mark.parametrize("key", ["weigths", "feeds", "rules/quality", ""])
def test_an_unknown_key_has_no_effective_value(key: str) -> None:
    with pytest.raises(BadSetting, match="Expected"):
        effective_value(log_of().settings, key)


# --- records ----------------------------------------------------------------------------------


def test_a_record_leaves_out_what_is_not_given() -> None:
    record = encode_record(WEIGHTS, by="ann", note=None, if_offset=-1)
    assert msgspec.json.decode(record) == {"value": WEIGHTS, "by": "ann", "if_offset": -1}
    (entry,) = log_of(("weights", record)).entries
    assert (entry.applied, entry.value, entry.by, entry.note) == (True, WEIGHTS, "ann", None)
    removal = encode_record(None, by="ann", note="over", if_offset=0)
    entry = log_of(("weights", {"value": WEIGHTS}), ("weights", removal)).entries[-1]
    assert (entry.applied, entry.value, entry.by, entry.note) == (True, None, "ann", "over")
    assert entry.record == removal
    assert not log_of(("weights", removal)).entries[0].applied
