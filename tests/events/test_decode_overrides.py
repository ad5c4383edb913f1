from __future__ import annotations

from typing import Any

import pytest

from builders.encoded import bytes_of, refusal
from feedmill.events.decode import decode_override
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
OVERRIDE = {"verdict": "hide", "by": "ann", "reason": "", "at_ms": 1}

AN_ID = "an id of 1 to 256 printable bytes without blanks, `|`, `{` and `}`"
A_NAME = "a name of 1 to 64 letters, digits, `.`, `_` and `-`"


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
    ("key", "reason"),
    [
        (None, "Expected a key, got none; a record without one cannot be placed"),
        (b"post:p", "Expected the key `<subject>|<gate>` with one `|`, got 'post:p'"),
        (b"post:p|a|b", "Expected the key `<subject>|<gate>` with one `|`, got 'post:p|a|b'"),
        (b"p|spam", "Expected `post:<post_id>` or `author:<author_id>`, got 'p'"),
        (b"post:|spam", "Expected `post:<post_id>` or `author:<author_id>`, got 'post:'"),
        (b"user:p|spam", "Expected `post:<post_id>` or `author:<author_id>`, got 'user:p'"),
        (b"post:a b|spam", f"Expected {AN_ID}, got 'a b' - in the key"),
        (
            b"post:p|quality",
            "Expected a gate, one of *, spam, nsfw, misinformation, extreme, got 'quality'"
            " - in the key",
        ),
        (
            b"post:p|",
            "Expected a gate, one of *, spam, nsfw, misinformation, extreme, got '' - in the key",
        ),
        (b"\xff|spam", "Expected a key in UTF-8, got '\\xff|spam'"),
    ],
)
def test_bad_keys_of_overrides_are_refused(key: bytes | None, reason: str) -> None:
    assert refusal(decode_override, NAMES, key, bytes_of(OVERRIDE)) == reason
    assert refusal(decode_override, NAMES, key, None) == reason


@pytest.mark.parametrize(
    ("key", "changed", "reason"),
    [
        (b"post:p|*", {"verdict": "ban"}, "Invalid enum value 'ban' - at `$.verdict`"),
        (b"post:p|*", {"by": ...}, "Object missing required field `by`"),
        (
            b"author:a|*",
            {"post_offset": 3},
            "Expected no `post_offset` for an author, got one - at `$.post_offset`",
        ),
        (
            b"post:p|*",
            {"expires_at_ms": "soon"},
            "Expected `int | null`, got `str` - at `$.expires_at_ms`",
        ),
    ],
)
def test_a_bad_override_is_refused(key: bytes, changed: dict[str, Any], reason: str) -> None:
    assert refusal(decode_override, NAMES, key, bytes_of(OVERRIDE, **changed)) == reason


def test_messages_stay_short_whatever_the_key() -> None:
    assert len(refusal(decode_override, NAMES, b"k" * 900_000, None)) < 300
