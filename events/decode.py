"""From the bytes of a record to a typed, checked event.

Each function takes the record's key and value, returns the event, and raises
`BadEvent` with the path of the field, what was expected and what was found.
They never raise anything else, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

import msgspec

from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent
from feedmill.events.instance import Instance
from feedmill.events.label import LABEL_TARGETS, Label
from feedmill.events.limits import check_id, explain_patterns
from feedmill.events.override import Override, OverrideKey, parse_subject
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, SignalNames, check_value

T = TypeVar("T")

_post = msgspec.json.Decoder(Post)
_deletion = msgspec.json.Decoder(Deletion)
_engagement = msgspec.json.Decoder(Engagement)
_signal = msgspec.json.Decoder(Signal)
_override = msgspec.json.Decoder(Override)
_label = msgspec.json.Decoder(Label)
_instance = msgspec.json.Decoder(Instance)

encode = msgspec.json.Encoder().encode


def decode_post(key: bytes | None, value: bytes | None) -> Post | Deletion:
    """A post, or its deletion (an empty value, or `deleted` true)."""
    if not value:
        return Deletion(key_text(key), deleted=True)
    try:
        post: Post | Deletion = _post.decode(value)
    except msgspec.ValidationError as error:
        post = _as_deletion(value, error)
    except Exception as error:  # noqa: BLE001 - any failure of the decoder is the record's fault
        raise _bad(error) from None
    _check_key(key, post.post_id)
    if isinstance(post, Post):
        check_id(post.author_id, "$.author_id")
        if post.in_reply_to is not None:
            check_id(post.in_reply_to, "$.in_reply_to")
        if post.deleted:
            return Deletion(post.post_id, deleted=True)
    return post


def _as_deletion(value: bytes, error: msgspec.ValidationError) -> Deletion:
    try:
        deletion = _deletion.decode(value)
    except Exception:  # noqa: BLE001 - it read further than the post's decoder: broken behind that
        raise _bad(error) from None
    if not deletion.deleted:
        raise _bad(error)
    return deletion


def decode_engagement(key: bytes | None, value: bytes | None) -> Engagement:
    """An engagement."""
    event = _decode(_engagement.decode, value)
    _check_key(key, event.post_id)
    check_id(event.user_id, "$.user_id")
    return event


def decode_signal(name: str, names: SignalNames, key: bytes | None, value: bytes) -> Signal:
    """The signal `name`; an empty value is no signal, see `key_text`."""
    signal = _decode(_signal.decode, value)
    _check_key(key, signal.post_id)
    known = name in names.gates or name in ("quality", "engagement")
    check_value(signal, name, in_unit_range=known)
    return signal


def decode_override(
    names: SignalNames, key: bytes | None, value: bytes | None
) -> tuple[OverrideKey, Override | None]:
    """Whom an override is about, and its verdict; None where it is withdrawn."""
    parts = key_text(key, any_text=True).split("|")
    if len(parts) != 2:
        raise BadEvent("Expected the key `<subject>|<gate>` with one `|`, got " + _shown(key))
    kind, name = parse_subject(parts[0])
    _check_plain_id(name)
    gate = parts[1]
    if gate != "*" and gate not in names.gates:
        known = ", ".join(("*", *names.gates))
        raise BadEvent(f"Expected a gate, one of {known}, got {gate[:80]!r} - in the key")
    at = OverrideKey(kind, name, gate)
    if not value:
        return at, None
    override = _decode(_override.decode, value)
    if override.post_offset is not None and kind == "author":
        raise BadEvent("Expected no `post_offset` for an author, got one - at `$.post_offset`")
    return at, override


def decode_label(
    key: bytes | None, value: bytes | None, targets: Collection[str] = LABEL_TARGETS
) -> Label:
    """A label of one of these targets."""
    label = _decode(_label.decode, value)
    if label.target not in targets:
        raise BadEvent(f"Invalid enum value {label.target!r} - at `$.target`")
    _check_key(key, label.post_id)
    return label


def decode_instance(value: bytes) -> Instance:
    """A heartbeat of a stage instance."""
    return _decode(_instance.decode, value)


def key_text(key: bytes | None, *, any_text: bool = False) -> str:
    """The key as text; an id by the rules of ids unless `any_text`."""
    if not key:
        raise BadEvent("Expected a key, got none; a record without one cannot be placed")
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise BadEvent(f"Expected a key in UTF-8, got {_shown(key)}") from None
    if not any_text:
        _check_plain_id(text)
    return text


_id_decode: Callable[[object], Deletion] = partial(msgspec.convert, type=Deletion)


def _check_plain_id(text: str) -> None:
    try:
        _id_decode({"post_id": text, "deleted": True})
    except msgspec.ValidationError as error:
        reason = str(_bad(error)).rpartition(" - ")[0]
        raise BadEvent(f"{reason}, got {text[:80]!r} - in the key") from None
    check_id(text, "key")


def _decode(decode: Callable[[bytes], T], value: bytes | None) -> T:
    if not value:
        raise BadEvent("Expected a JSON object, got an empty value")
    try:
        return decode(value)
    except Exception as error:  # noqa: BLE001 - any failure of the decoder is the record's fault
        raise _bad(error) from None


def _bad(error: Exception) -> BadEvent:
    if isinstance(error, RecursionError):
        return BadEvent("Expected a flat JSON object, got one nested too deeply")
    return BadEvent(explain_patterns(str(error)[:1000]))


def _check_key(key: bytes | None, post_id: str) -> None:
    if key != post_id.encode():
        raise BadEvent(
            f"Expected the record's key {post_id[:80]!r}, got {_shown(key)} - at `$.post_id`"
        )
    check_id(post_id, "$.post_id")


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(key[:80])[1:]
