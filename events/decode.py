"""From the bytes of a record to a typed, checked event.

Each function takes the key and the value of a record and returns the event.  It raises `BadEvent`
with the path of the field, what was expected and what was found, and nothing else, whatever the
bytes are.  Pure and quick enough for the event loop: a few microseconds a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, BadSetting
from feedmill.events.experiment import Exposure
from feedmill.events.feeds import check_feed_name
from feedmill.events.instance import Instance
from feedmill.events.label import LABEL_TARGETS, Label
from feedmill.events.limits import (
    MAX_ID_BYTES,
    NAME_PATTERN,
    check_id,
    check_name,
    check_names,
    is_id,
    is_name,
)
from feedmill.events.override import Override, OverrideKey, Withdrawal, parse_subject
from feedmill.events.post import Deletion, Post
from feedmill.events.reasons import DECODE_ERRORS, reason_of
from feedmill.events.release import (
    CANDIDATE,
    LIST,
    Candidate,
    ListRelease,
    ModelRelease,
)
from feedmill.events.signal import MAX_FLOAT32, Signal, SignalNames, check_signal, has_unit_range

T = TypeVar("T")
AboutModel = TypeVar("AboutModel", ModelRelease, Candidate)

_post = msgspec.json.Decoder(Post)
_deletion = msgspec.json.Decoder(Deletion)
_engagement = msgspec.json.Decoder(Engagement)
_exposure = msgspec.json.Decoder(Exposure)
_signal = msgspec.json.Decoder(Signal)
_override = msgspec.json.Decoder(Override)
_withdrawal = msgspec.json.Decoder(Withdrawal)
_label = msgspec.json.Decoder(Label)
_instance = msgspec.json.Decoder(Instance)
_release = msgspec.json.Decoder(ModelRelease)
_candidate = msgspec.json.Decoder(Candidate)
_list_release = msgspec.json.Decoder(ListRelease)
_list_name = re.compile(NAME_PATTERN)

encode = msgspec.json.Encoder().encode

# Keys or values; `join` raises TypeError where one is None.
Texts = Sequence[bytes | None]

_signals = msgspec.json.Decoder(list[Signal])
_BEGIN, _END = b"{}"
# What an id cannot have of ASCII, but the line break, which stands between ids.
_NOT_IN_IDS = bytes(c for c in range(128) if not is_id(chr(c))).replace(b"\n", b"")


def decode_post(key: bytes | None, value: bytes | None) -> Post | Deletion:
    """Decode a record of `posts`: a post, or its deletion (an empty value, or `deleted` true)."""
    if not value:
        return Deletion(decode_key(key), deleted=True)
    try:
        post: Post | Deletion = _post.decode(value)
    except msgspec.ValidationError as error:
        post = _as_deletion(value, error)
    except Exception as error:  # noqa: BLE001 - any failure of the decoder is the record's fault
        raise BadEvent(reason_of(error)) from None
    _check_key(key, post.post_id)
    if isinstance(post, Deletion):
        return post
    if post.deleted:
        return Deletion(post.post_id, deleted=True)
    check_id(post.author_id, "$.author_id")
    check_name(post.lang, "$.lang")
    check_names(post.communities or (), "$.communities")
    if post.in_reply_to is not None:
        check_id(post.in_reply_to, "$.in_reply_to")
    check_name(post.tenant, "$.tenant")
    return post


def _as_deletion(value: bytes, error: msgspec.ValidationError) -> Deletion:
    """Decode what is no post as a deletion; if it is none either, `error` is the reason."""
    try:
        deletion = _deletion.decode(value)
    except Exception:  # noqa: BLE001 - the post's decoder stopped earlier, so its error comes first
        raise BadEvent(reason_of(error)) from None
    if not deletion.deleted:
        raise BadEvent(reason_of(error))
    return deletion


def decode_engagement(key: bytes | None, value: bytes | None) -> Engagement:
    """Decode a record of `engagements`."""
    event = _decode(_engagement.decode, value)
    _check_key(key, event.post_id)
    check_id(event.user_id, "$.user_id")
    if event.event_id is not None:
        check_id(event.event_id, "$.event_id")
    return event


def decode_exposure(key: bytes | None, value: bytes | None) -> Exposure:
    """Decode a record of `exposures`; its experiment and arm need not exist."""
    event = _decode(_exposure.decode, value)
    _check_key(key, event.user_id, "$.user_id")
    check_name(event.experiment, "$.experiment")
    check_name(event.arm, "$.arm")
    check_name(event.served, "$.served")
    try:
        check_feed_name(event.feed)
    except BadSetting as error:
        raise BadEvent(f"{error} - at `$.feed`") from None
    return event


def decode_signal(name: str, names: SignalNames, key: bytes | None, value: bytes) -> Signal:
    """Decode a record of `signals.<name>`.

    An empty value withdraws the signal: decode only the key then, by `decode_key`.
    """
    signal = _decode(_signal.decode, value)
    _check_key(key, signal.post_id)
    check_signal(signal, name, in_unit_range=has_unit_range(name, names))
    return signal


def _decode_signal_or_key(
    name: str, names: SignalNames, key: bytes | None, value: bytes | None
) -> Signal | str:
    return decode_signal(name, names, key, value) if value else decode_key(key)


def decode_override(
    names: SignalNames, key: bytes | None, value: bytes | None
) -> tuple[OverrideKey, Override | None]:
    """Decode a record of `overrides`: which post or author and gate, and the decision.

    The decision is None where the value is empty or a `Withdrawal`: the override is withdrawn.
    """
    parts = _key_text(key).split("|")
    if len(parts) != 2:
        raise BadEvent("Expected the key `<subject>|<gate>` with one `|`, got " + _shown(key))
    try:
        kind, name = parse_subject(parts[0])
    except BadEvent as error:
        raise BadEvent(f"{error} - in the key") from None
    _check_id_in_key(name)
    gate = parts[1]
    if gate != "*" and gate not in names.gates:
        known = ", ".join(("*", *names.gates))
        raise BadEvent(f"Expected a gate, one of {known}, got {gate[:80]!r} - in the key")
    at = OverrideKey(kind, name, gate)
    if not value:
        return at, None
    try:
        override = _decode(_override.decode, value)
    except BadEvent:
        if _is_withdrawal(value):
            return at, None
        raise
    if override.post_offset is not None and kind == "author":
        raise BadEvent("Expected no `post_offset` for an author, got one - at `$.post_offset`")
    return at, override


def _is_withdrawal(value: bytes) -> bool:
    try:
        _withdrawal.decode(value)
    except DECODE_ERRORS:
        return False
    return True


def decoder_of(
    topic: str, names: SignalNames
) -> Callable[[bytes | None, bytes | None], Any] | None:
    """Return what decodes the records of an input of the stages, named without the prefix.

    None if it is none of this installation.  An empty value of a signal is decoded as the id of
    its post.
    """
    if topic == "posts":
        return decode_post
    if topic == "engagements":
        return decode_engagement
    if topic == "exposures":
        return decode_exposure
    if topic == "overrides":
        return partial(decode_override, names)
    name = topic.removeprefix("signals.")
    if name != topic and name in names.all:
        return partial(_decode_signal_or_key, name, names)
    return None


def decode_label(
    key: bytes | None, value: bytes | None, targets: Collection[str] = LABEL_TARGETS
) -> Label:
    """Decode a record of `labels` whose target is one of these."""
    label = _decode(_label.decode, value)
    if label.target not in targets:
        raise BadEvent(
            f"Expected one of {', '.join(targets)}, got {label.target[:80]!r} - at `$.target`"
        )
    _check_key(key, label.post_id)
    return label


def decode_release(
    models: Collection[str], key: bytes | None, value: bytes | None
) -> tuple[str, ModelRelease | None]:
    """Decode a record of `models`: the model, and its release.

    The release is None where the value is empty: the version that the store's card names.
    """
    return _decode_about_model("", _release.decode, models, key, value)


def is_candidate(key: bytes | None) -> bool:
    """Return whether a record of `models` is about a candidate, by its key."""
    return key is not None and key.startswith(CANDIDATE.encode())


def decode_candidate(
    models: Collection[str], key: bytes | None, value: bytes | None
) -> tuple[str, Candidate | None]:
    """Decode a record of `models` that begins or ends a candidate: the model, and what it says.

    That is None where the value is empty: the candidate ends, whichever it is.
    """
    name, candidate = _decode_about_model(CANDIDATE, _candidate.decode, models, key, value)
    if candidate is not None and candidate.promotes and not candidate.until_ms:
        raise BadEvent("Expected a time for what `promotes`, got none - at `$.until_ms`")
    return name, candidate


def is_list(key: bytes | None) -> bool:
    """Return whether a record of `models` is about a list, by its key."""
    return key is not None and key.startswith(LIST.encode())


def decode_list_release(
    filters: Collection[str], key: bytes | None, value: bytes | None
) -> tuple[str, str, ListRelease | None]:
    """Decode a record of `models` about a list: its filter, its name, and the release.

    The release is None where the value is empty: the list is in force no more.
    """
    text = _key_text(key)
    filter_name, _, name = text.removeprefix(LIST).partition("/")
    if filter_name not in filters or not _list_name.match(name):
        raise BadEvent(
            f"Expected {LIST}<filter>/<name>, the filter one of {', '.join(filters)}, got"
            f" {text[:80]!r} - in the key"
        )
    if not value:
        return filter_name, name, None
    release = _decode(_list_release.decode, value)
    _check_sha256(release.sha256)
    return filter_name, name, release


def _decode_about_model(
    prefix: str,
    decode: Callable[[bytes], AboutModel],
    models: Collection[str],
    key: bytes | None,
    value: bytes | None,
) -> tuple[str, AboutModel | None]:
    text = _key_text(key)
    name = text.removeprefix(prefix)
    if text.startswith(("shadow/", "canary/")):
        raise BadEvent(
            f"Expected the key `{CANDIDATE}<model>`, got {text[:80]!r} of an earlier build - in the"
            " key"
        )
    if name not in models:
        raise BadEvent(
            f"Expected a model, one of {', '.join(models)}, got {text[:80]!r} - in the key"
        )
    if not value:
        return name, None
    record = _decode(decode, value)
    _check_sha256(record.sha256)
    return name, record


def _check_sha256(sha256: str) -> None:
    if sha256 != sha256.lower():
        raise BadEvent("Expected small hexadecimal digits, got capitals - at `$.sha256`")


def decode_instance(value: bytes) -> Instance:
    """Decode a record of `instances`, the heartbeat of a stage's instance."""
    return _decode(_instance.decode, value)


def decode_key(key: bytes | None) -> str:
    """Decode the key of a record without a value: the id that the record is about."""
    text = _key_text(key)
    _check_id_in_key(text)
    return text


def _key_text(key: bytes | None) -> str:
    if not key:
        raise BadEvent("Expected a key, got none; a record without one cannot be placed")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise BadEvent(f"Expected a key in UTF-8, got {_shown(key)}") from None


def _check_id_in_key(text: str) -> None:
    if len(text) > MAX_ID_BYTES:
        raise BadEvent(
            f"Expected `str` of length <= {MAX_ID_BYTES}, got {text[:80]!r} - in the key"
        )
    try:
        check_id(text, "$")
    except BadEvent as error:
        reason = str(error).replace(" - at `$`", "")
        got = "" if ", got " in reason else f", got {text[:80]!r}"
        raise BadEvent(f"{reason}{got} - in the key") from None


def _decode(decode: Callable[[bytes], T], value: bytes | None) -> T:
    if not value:
        raise BadEvent("Expected a JSON object, got an empty value")
    try:
        return decode(value)
    except Exception as error:  # noqa: BLE001 - any failure of the decoder is the record's fault
        raise BadEvent(reason_of(error)) from None


def _check_key(key: bytes | None, event_id: str, path: str = "$.post_id") -> None:
    check_id(event_id, path)
    if key != event_id.encode():
        raise BadEvent(
            f"Expected the record's key {event_id[:80]!r}, got {_shown(key)} - at `{path}`"
        )


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(key[:80])[1:]


def decode_posts(keys: Texts, values: Texts) -> list[Post] | None:
    """Decode records of `posts` as `decode_post` does one after the other.

    Unusual are a deletion, and an id beyond ASCII.
    """
    try:
        posts = [*map(_post.decode, cast("Sequence[bytes]", values))]
    except (TypeError, *DECODE_ERRORS):
        return None
    if not _have_keys([post.post_id for post in posts], keys):
        return None
    ids = [post.author_id for post in posts]
    ids += [post.in_reply_to for post in posts if post.in_reply_to is not None]
    names: set[str | None] = {post.lang for post in posts}
    names.update({post.tenant for post in posts})
    names.update(chain.from_iterable({post.communities or () for post in posts}))
    names.discard(None)
    are_names = all(map(is_name, cast("set[str]", names)))
    are_kept = True not in [post.deleted for post in posts]
    return posts if are_kept and are_names and _lines_of_ids(ids) is not None else None


def decode_signals(
    name: str, names: SignalNames, keys: Texts, values: Texts
) -> list[Signal] | None:
    """Decode records of `signals.<name>` as `decode_signal` does one after the other.

    Unusual are a withdrawn signal, an error, an overruled verdict, and an id beyond ASCII.
    """
    try:
        joined = _joined(cast("Sequence[bytes]", values))
        signals = _signals.decode(b"[" + joined + b"]") if joined else []
    except (TypeError, *DECODE_ERRORS):
        return None
    if len(signals) != len(values) or not _have_keys([s.post_id for s in signals], keys):
        return None
    found = [signal.value for signal in signals]
    try:
        numbers = np.fromiter(cast("list[float]", found), np.float64, len(found))
    except TypeError:  # one is None
        return None
    least, most = (0.0, 1.0) if has_unit_range(name, names) else (-MAX_FLOAT32, MAX_FLOAT32)
    return signals if least <= numbers.min() and numbers.max() <= most else None


def _have_keys(post_ids: Sequence[str], keys: Texts) -> bool:
    """Whether these are ids, and the keys are theirs."""
    lines = _lines_of_ids(post_ids)
    try:
        return lines is not None and lines == b"\n".join(cast("Sequence[bytes]", keys))
    except TypeError:
        return False


def _joined(values: Sequence[bytes]) -> bytes:
    """Join values with commas; nothing unless each ends with ``}`` and begins with its only ``{``.

    Together they could be JSON where one alone is none: a text or list might begin in one and end
    in the next.  Here it cannot: as many objects as values need every ``{``, so that each value
    begins outside a text; and an object that ended before its value did would leave a ``}`` behind
    that is no JSON.
    """
    joined = b",".join(values)
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    if not sizes.all():
        return b""
    text, ends = np.frombuffer(joined, np.uint8), np.cumsum(sizes + 1) - 2
    are_whole = (text[ends - sizes + 1] == _BEGIN).all() and (text[ends] == _END).all()
    return joined if are_whole and np.count_nonzero(text == _BEGIN) == len(values) else b""


def _lines_of_ids(values: Sequence[str]) -> bytes | None:
    """Return ids joined by line breaks; None unless they are ASCII and `check_id` accepts each.

    None is no answer: an id beyond ASCII may be good.  Types limit their lengths already.
    """
    joined = "\n".join(values)
    if not joined.isascii() or joined.count("\n") >= max(1, len(values)) or not all(values):
        return None
    text = joined.encode()
    return text if len(text.translate(None, _NOT_IN_IDS)) == len(text) else None
