import msgspec
import pytest

from feedmill.events.engagement import Engagement
from feedmill.events.gates import GatePolicyPatch
from feedmill.events.instance import Instance
from feedmill.events.label import Label
from feedmill.events.override import Override
from feedmill.events.post import Post
from feedmill.events.reasons import MAX_REASON_CHARACTERS, reason_of
from feedmill.events.rules import Rule
from feedmill.events.signal import Signal

RECORDS = (Engagement, GatePolicyPatch, Instance, Label, Override, Post, Rule, Signal)


def choices() -> list[tuple[type, str, tuple[object, ...]]]:
    """Record, field and values of every field that holds one of a few values."""
    found: list[tuple[type, str, tuple[object, ...]]] = []
    for record in RECORDS:
        info = msgspec.inspect.type_info(record)
        assert isinstance(info, msgspec.inspect.StructType)
        for field in info.fields:
            options = getattr(field.type, "types", (field.type,))
            found += [
                (record, field.encode_name, option.values)
                for option in options
                if isinstance(option, msgspec.inspect.LiteralType)
            ]
    return found


def test_there_are_such_fields() -> None:
    assert {field for _, field, _ in choices()} == {"kind", "on_failure", "verdict"}


def test_a_reason_stays_short() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"kind": "x" * 900_000}, Engagement)
    assert len(reason_of(caught.value)) <= MAX_REASON_CHARACTERS + 1


def test_an_error_without_a_path_gets_the_path_of_the_value() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({}, Override)
    assert reason_of(caught.value, "$.a").endswith("missing required field `verdict` - at `$.a`")
