import pytest

from builders.encoded import bytes_of
from feedmill.events.decode import decode_override
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
OVERRIDE = {"verdict": "hide", "by": "ann", "reason": "", "at_ms": 1}


@pytest.mark.parametrize(
    ("key", "about"),
    [
        (b"post:p|*", ("post", "p", "*")),
        (b"post:a:b|spam", ("post", "a:b", "spam")),
        (b"author:a|extreme", ("author", "a", "extreme")),
        (b"post:author:x|nsfw", ("post", "author:x", "nsfw")),
    ],
)
def test_keys_of_overrides(key: bytes, about: tuple[str, str, str]) -> None:
    at, override = decode_override(NAMES, key, bytes_of(OVERRIDE))
    assert tuple(at) == about
    assert str(at).encode() == key
    assert override is not None
    assert override.verdict == "hide"
    assert decode_override(NAMES, key, b"") == (at, None)
    assert decode_override(NAMES, key, None) == (at, None)


@pytest.mark.parametrize(
    "value", [b'{"value":null}', b'{"value":null,"by":"ann","note":"was wrong"}']
)
def test_a_value_of_null_withdraws_as_an_empty_one_does(value: bytes) -> None:
    key = b"author:a|spam"
    assert decode_override(NAMES, key, value) == decode_override(NAMES, key, b"")


def test_a_decision_that_has_a_field_value_too_is_a_decision() -> None:
    _, override = decode_override(NAMES, b"post:p|*", bytes_of({**OVERRIDE, "value": None}))
    assert override is not None
