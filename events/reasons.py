"""The reasons of refusals: msgspec's errors as text, with what was expected and where.

A reason goes into the header of a dead letter, into the refused settings of `instances` and onto
the screen of whoever writes a setting, so that it is short and needs no source code to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import get_args

import msgspec

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.events.gates import OnFailure
from feedmill.events.label import LabelTarget
from feedmill.events.limits import (
    EVENT_TIME_MEANING,
    FIRST_EVENT_MS,
    ID_MEANING,
    ID_PATTERN,
    NAME_MEANING,
    NAME_PATTERN,
    SHA256_PATTERN,
)
from feedmill.events.metric import Better, MetricUnit
from feedmill.events.override import OverrideVerdict

MAX_REASON_CHARACTERS = 1000
# What msgspec raises where bytes are no JSON of the type that is asked for.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)

_MEANINGS = {
    ID_PATTERN: ID_MEANING,
    NAME_PATTERN: NAME_MEANING,
    SHA256_PATTERN: "a sha256 in 64 hexadecimal digits",
}
_TOO_EARLY = f"Expected `int` >= {FIRST_EVENT_MS}"
# What fields of a few values can hold; msgspec names only the value that it found.
_CHOICES = {
    "better": get_args(Better),
    "kind": ENGAGEMENT_KINDS,
    "kinds": ENGAGEMENT_KINDS,
    "on_failure": get_args(OnFailure),
    "per": get_args(MetricUnit),
    "target": get_args(LabelTarget),
    "unless": ENGAGEMENT_KINDS,
    "verdict": get_args(OverrideVerdict),
}
_WRONG_CHOICE = re.compile(
    r"Invalid enum value (?P<found>.*) - at `(?P<path>.*\.(?P<field>\w+)(\[.*\])?)`\Z"
)
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_PATH = " - at `$"


def reason_of(error: Exception, at: str = "$") -> str:
    """Return why a decoder refused a value, of about `MAX_REASON_CHARACTERS` at most.

    Parameters
    ----------
    error
        What the decoder raised, of any type.
    at
        The path of the value that it decoded; paths inside the value start with it.
    """
    if isinstance(error, RecursionError):
        return "Expected a flat JSON object, got one nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"Expected JSON in UTF-8, got the byte 0x{error.object[error.start]:02x} in a text"
    text = str(error)
    if text == "Input data was truncated":
        return "JSON is malformed: it ends too early"
    if len(text) > MAX_REASON_CHARACTERS:
        return text[:MAX_REASON_CHARACTERS] + "…"
    text = _with_choices(text)
    for pattern, meaning in _MEANINGS.items():
        text = text.replace(f"`str` matching regex {pattern!r}", meaning)
    text = text.replace(
        _TOO_EARLY, f"Expected {EVENT_TIME_MEANING}, got an earlier one; multiply seconds by 1,000"
    )
    if _PATH in text:
        return text.replace(_PATH, f" - at `{at}")
    return f"{text} - at `{at}`" if isinstance(error, msgspec.ValidationError) else text


def with_suggestion(reason: str, known: Iterable[str]) -> str:
    """Add to a refusal of an unknown field which of the known ones may be meant."""
    match = _UNKNOWN_FIELD.search(reason)
    if match is None:
        return reason
    others = [name for name in known if name != match["name"]]
    close = get_close_matches(match["name"], others, 1, cutoff=0.7)
    return f"{reason}; did you mean `{close[0]}`?" if close else reason


def _with_choices(text: str) -> str:
    match = _WRONG_CHOICE.match(text)
    if match is None or match["field"] not in _CHOICES:
        return text
    choices = ", ".join(_CHOICES[match["field"]])
    return f"Expected one of {choices}, got {match['found']} - at `{match['path']}`"
