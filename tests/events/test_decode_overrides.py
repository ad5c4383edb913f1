import pytest

from builders.encoded import bytes_of, refusal
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


@pytest.mark.parametrize(
    "value",
    [b"{}", b"null", b'{"value":0}', b'{"value":null,"by":7}', b'{"by":"ann","note":"was wrong"}'],
)
def test_what_neither_decides_nor_withdraws_is_refused(value: bytes) -> None:
    assert refusal(decode_override, NAMES, b"post:p|*", value)


def test_a_decision_that_has_a_field_value_too_is_a_decision() -> None:
    _, override = decode_override(NAMES, b"post:p|*", bytes_of({**OVERRIDE, "value": None}))
    assert override is not None


def test_messages_stay_short_whatever_the_key() -> None:
    assert len(refusal(decode_override, NAMES, b"k" * 900_000, None)) < 300
