"""Events, overrides and their keys are decoded."""

import pytest

from builders.encoded import bytes_of, refusal
from feedmill.events.decode import (
    decode_engagement,
    decode_key,
    decode_override,
    decode_post,
    decoder_of,
)
from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import SignalNames

POST = {"post_id": "p", "author_id": "a", "created_at_ms": 1_700_000_000_001, "text": "x"}
ENGAGEMENT = {"post_id": "p", "user_id": "u", "kind": "like", "at_ms": 1_700_000_000_001}


def test_the_last_of_duplicate_keys_counts() -> None:
    value = (
        b'{"post_id":"p","author_id":"a","author_id":"b","created_at_ms":1700000000001,"text":"x"}'
    )
    post = decode_post(b"p", value)
    assert isinstance(post, Post)
    assert post.author_id == "b"


@pytest.mark.parametrize(
    "post_id", ["é" * 128, "at://did:plc:x/app.bsky/3k", 'a"b', "a\\b", "日本"]
)
def test_ids_may_be_any_printable_text_without_blanks(post_id: str) -> None:
    post = decode_post(post_id.encode(), bytes_of(POST, post_id=post_id))
    assert post.post_id == post_id
    assert decode_post(post_id.encode(), None) == Deletion(post_id, deleted=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b'{"post_id":"p","deleted":true}',
        b'{"post_id":"p","deleted":true,"by":"x"}',
        bytes_of(POST, deleted=True),
    ],
)
def test_deletions(value: bytes | None) -> None:
    assert decode_post(b"p", value) == Deletion("p", deleted=True)


def test_keys_of_withdrawn_signals_are_ids() -> None:
    assert decode_key(b"p") == "p"
    assert refusal(decode_key, b"a\nb") == refusal(decode_post, b"a\nb", None)


@pytest.mark.parametrize("kind", ENGAGEMENT_KINDS)
def test_every_kind_of_engagement_comes_through(kind: str) -> None:
    event = decode_engagement(b"p", bytes_of(ENGAGEMENT, kind=kind, dwell_ms=12.5, position=3))
    assert (event.kind, event.dwell_ms, event.position) == (kind, 12.5, 3)


def test_messages_stay_short_whatever_the_record() -> None:
    assert len(refusal(decode_post, b"k" * 900_000, bytes_of(POST))) < 300
    assert len(refusal(decode_post, b"k" * 900_000, None)) < 300
    assert len(refusal(decode_engagement, b"p", bytes_of(ENGAGEMENT, kind="x" * 900_000))) < 1100


def test_every_input_of_the_stages_has_a_decoder() -> None:
    names = SignalNames()
    assert decoder_of("posts", names) is decode_post
    assert decoder_of("overrides", names) is not None
    assert decoder_of("engagements", names) is not None
    assert decoder_of("signals.novelty", names) is None
    assert decoder_of("config", names) is None
    decode = decoder_of("signals.spam", names)
    assert decode is not None
    assert decode(b"p1", None) == "p1"


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
