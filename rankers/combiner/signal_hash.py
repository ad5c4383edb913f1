"""How a post and its signals are written in `signals:<post_id>`: short, and readable by a person.

    post          1045 1795541438542 12         post_offset, created_ms, and arrived 12 ms later
    spam          0.0123 56e6e2 41              probability, version, ms after the post arrived
    spam          1.0 rule:casino-links 41      a rule of an operator decided
    quality       0.83 56e6e2 12 @1045          it judged another version of the post
    engagement    null 56e6e2 90                the model failed, see `engagement.error`

feedmill's own models have versions of twelve hexadecimal digits, of which six are written: they
name one among thousands, and `feedmill models show` takes them.  The signals in Kafka have all.

Redis keeps a hash as one compact string while no field is longer than 64 bytes: with five
signals some 360 bytes a post in all, and 1,100 otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import orjson

from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.signal_columns import StoredSignal, StoredSignals

POST_FIELD = "post"
SHORT_DIGITS = 6
_is_long = re.compile(r"[0-9a-f]{12}").fullmatch
_RULE = f"{RULE_MODEL}:"
_ESCAPED_IN_MODELS = str.maketrans({"%": "%25", "@": "%40", ":": "%3A"})


def short_version(version: str) -> str:
    """The first six digits of a version of twelve hexadecimal digits; any other one whole."""
    return version[:SHORT_DIGITS] if _is_long(version) else version


# --- the version of a post -------------------------------------------------------------------


class PostVersion(NamedTuple):
    """A version of a post.

    Attributes
    ----------
    offset
        The offset of its record, -1 where nothing is known of the post.
    created_ms, arrived_ms
        The effective creation time and the timestamp of the record, in Unix milliseconds.
    """

    offset: int = -1
    created_ms: int = 0
    arrived_ms: int = 0


def encode_post(version: PostVersion) -> str:
    """The text of the field."""
    offset, created_ms, arrived_ms = version
    return f"{offset} {created_ms} {arrived_ms - created_ms}"


def encode_posts(
    offsets: npt.NDArray[np.int64],
    created_ms: npt.NDArray[np.int64],
    arrived_ms: npt.NDArray[np.int64],
) -> list[str]:
    """The texts of the field of many posts, each as `encode_post` writes it; all of shape (n,)."""
    after_ms = (arrived_ms - created_ms).tolist()
    columns = zip(offsets.tolist(), created_ms.tolist(), after_ms, strict=True)
    return [f"{offset} {at_ms} {after}" for offset, at_ms, after in columns]


def decode_post(fields: Mapping[str, str]) -> PostVersion:
    """Read the version of a post from its fields; one of offset -1 where the field is missing.

    Raises `ValueError` where the field is not of this form.
    """
    text = fields.get(POST_FIELD)
    if not text:
        return PostVersion()
    offset, created_ms, later_ms = map(int, text.split(" "))
    return PostVersion(offset, created_ms, created_ms + later_ms)


# --- its signals -----------------------------------------------------------------------------


def fields_of_signal(
    name: str, signal: StoredSignal | None, post_offset: int, arrived_ms: int
) -> dict[str, str]:
    """The fields of a signal, those that are not there as "": in a change they are removed.

    Parameters
    ----------
    name
        The signal's name; its model is not written where it is called the same.
    signal
        None where the post has none of this name.
    post_offset, arrived_ms
        The version of the post, and the timestamp of its record.
    """
    if signal is None:
        return {name: "", error_field(name): ""}
    text = encode_signal(name, signal, post_offset, arrived_ms)
    return {name: text, error_field(name): signal.error or ""}


def encode_signal(name: str, signal: StoredSignal, post_offset: int, arrived_ms: int) -> str:
    """The field of a signal without its error; the parameters are those of `fields_of_signal`."""
    value = _shortest(np.nan if signal.value is None else np.float32(signal.value))
    version = _version(name, signal.model, signal.version)
    text = f"{value} {version} {signal.at_ms - arrived_ms}"
    return text if signal.post_offset == post_offset else f"{text} @{signal.post_offset}"


def encode_signals(
    name: str,
    signals: StoredSignals,
    post_offsets: npt.NDArray[np.int64],
    arrived_ms: npt.NDArray[np.int64],
) -> list[str]:
    """The fields of a signal of one post or more, each as `encode_signal` writes it; "" for none.

    `post_offsets` and `arrived_ms` have shape (n,).
    """
    values = _shortest(signals.values)[1:-1].split(",")
    models, delays_ms = signals.models, (signals.at_ms - arrived_ms).tolist()
    first = models[0]
    if first is not None and models.count(first) == len(models):
        # As nearly always: all are of one model.
        version = _version(name, *first)
        columns = zip(values, delays_ms, strict=True)
        texts = [f"{value} {version} {delay_ms}" for value, delay_ms in columns]
    else:
        texts = [
            "" if model is None else f"{value} {_version(name, *model)} {delay_ms}"
            for value, model, delay_ms in zip(values, models, delays_ms, strict=True)
        ]
    for i in np.flatnonzero(signals.post_offsets != post_offsets).tolist():
        texts[i] = texts[i] and f"{texts[i]} @{signals.post_offsets[i]}"
    return texts


def _shortest(values: float | np.float32 | npt.NDArray[np.float32]) -> str:
    """As JSON: the shortest decimal numbers that read back as these float32, `null` for NaN."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def decode_signal(name: str, fields: Mapping[str, str]) -> StoredSignal | None:
    """Read the signal of a name from the fields of a post; None where there is none.

    Raises `ValueError` where a field is not of this form.
    """
    text = fields.get(name)
    if not text:
        return None
    value, _, rest = text.partition(" ")
    rest, _, last = rest.rpartition(" ")
    post = decode_post(fields)
    post_offset = post.offset
    if last.startswith("@"):
        post_offset = int(last[1:])
        rest, _, last = rest.rpartition(" ")
    model, version = _model_and_version(name, rest)
    return StoredSignal(
        value=None if value == "null" else float(np.float32(value)),
        model=model,
        version=version,
        post_offset=post_offset,
        at_ms=post.arrived_ms + int(last),
        error=fields.get(error_field(name)) or None,
    )


def error_field(name: str) -> str:
    """The field with the error of a signal; no signal can be called so."""
    return f"{name}.error"


# There are few versions, and as many calls as there are signals.
@lru_cache(maxsize=1024)
def _version(name: str, model: str, version: str) -> str:
    if model == RULE_MODEL:
        return _RULE + version
    version = short_version(version)
    if model == name and "@" not in version and not version.startswith(_RULE):
        return version
    return f"{model.translate(_ESCAPED_IN_MODELS)}@{version}"


def _model_and_version(name: str, text: str) -> tuple[str, str]:
    if text.startswith(_RULE):
        return RULE_MODEL, text.removeprefix(_RULE)
    model, at, version = text.partition("@")
    if not at:
        return name, text
    return unquote(model), version
