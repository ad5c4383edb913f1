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


def test_messages_stay_short_whatever_the_key() -> None:
    assert len(refusal(decode_override, NAMES, b"k" * 900_000, None)) < 300
