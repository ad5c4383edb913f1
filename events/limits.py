"""Limits of what comes in (contracts, section 2), as annotated types that msgspec enforces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from feedmill.events.errors import BadEvent

MAX_ID_BYTES = 256
MAX_TEXT_CHARACTERS = 20_000
MAX_NAME_CHARACTERS = 256
MAX_SETTING_BYTES = 256 * 1024
MAX_SAFE_INTEGER = 2**53 - 1
# 2005-01-01, UTC: no product is older, and seconds taken for milliseconds are from 1970.
FIRST_EVENT_MS = 1_104_537_600_000

# `(?![\s\S])` is the end of the text in Python and in JSON Schema alike;
# Python's `$` would let a line break through.
ID_PATTERN = r"^[^\s|{}\u0000-\u001f\u007f]{1,256}(?![\s\S])"
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}(?![\s\S])"
SHA256_PATTERN = r"^[0-9a-fA-F]{64}(?![\s\S])"

ID_MEANING = "an id of 1 to 256 printable bytes without blanks, `|`, `{` and `}`"
NAME_MEANING = "a name of 1 to 64 letters, digits, `.`, `_` and `-`"

_id_description = "1 to 256 bytes of UTF-8, printable, without blanks, `|`, `{` and `}`"
_name_description = "A community, language, tenant"
Id = Annotated[str, Meta(pattern=ID_PATTERN, max_length=MAX_ID_BYTES, description=_id_description)]
Name = Annotated[str, Meta(pattern=NAME_PATTERN, description=_name_description)]
PlainName = Annotated[str, Meta(pattern=NAME_PATTERN)]
# The same in events that come often.  msgspec takes four times as long for a pattern as for the
# rest of a post, so that their decoders call `check_id` and `check_name`.
EventId = Annotated[
    str,
    Meta(
        max_length=MAX_ID_BYTES,
        description=_id_description,
        extra_json_schema={"pattern": ID_PATTERN},
    ),
]
EventName = Annotated[
    str, Meta(description=_name_description, extra_json_schema={"pattern": NAME_PATTERN})
]
TimeMs = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER, description="Unix milliseconds")]
EventTimeMs = Annotated[
    int,
    Meta(
        ge=FIRST_EVENT_MS,
        le=MAX_SAFE_INTEGER,
        description="Unix milliseconds, from 2005-01-01 on; of a post to a day after its record's",
    ),
]
EVENT_TIME_MEANING = f"Unix time in milliseconds, from 2005-01-01 ({FIRST_EVENT_MS}) on"
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Offset of a record of `posts`")]
Revision = Annotated[
    int,
    Meta(
        ge=0,
        le=2**63 - 1,
        description="Of engagement the last offset of `engagements` counted, of a filter the offset"
        " in `config` of the rules applied; 0 for any other",
    ),
]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]
ShortText = Annotated[str, Meta(max_length=4096)]
# Of a model and its version: a worker keeps each pair that signals name.
ShortName = Annotated[str, Meta(max_length=MAX_NAME_CHARACTERS)]


is_id = re.compile(ID_PATTERN).match
_match_name = re.compile(NAME_PATTERN).match


def check_id(value: str, path: str) -> None:
    """Check an id: its pattern, and what that cannot say, its size in bytes if it is not ASCII.

    Raises
    ------
    BadEvent
        With `path`, the place of the id in the record.
    """
    if not is_id(value):
        raise BadEvent(f"Expected {ID_MEANING} - at `{path}`")
    if value.isascii():
        return
    size = len(value.encode("utf-8", "replace"))
    if size > MAX_ID_BYTES or not value.isprintable():
        got = f"{size} bytes" if size > MAX_ID_BYTES else repr(value[:40])
        raise BadEvent(
            f"Expected an id of at most {MAX_ID_BYTES} bytes, all characters printable, got {got}"
            f" - at `{path}`"
        )


@lru_cache(maxsize=4096)
def is_name(value: str) -> bool:
    """Whether a value can be the name of a community, language or tenant."""
    return _match_name(value) is not None


def check_name(value: str | None, path: str) -> None:
    """Check the name of a language or tenant, where there is one.

    Raises
    ------
    BadEvent
        With `path`, the place of the name in the record.
    """
    if value is not None and not is_name(value):
        raise BadEvent(f"Expected {NAME_MEANING} - at `{path}`")


def check_names(values: Iterable[str], path: str) -> None:
    """Check the names of communities, which are a list at `path`; as `check_name`."""
    for place, value in enumerate(values):
        if not is_name(value):
            raise BadEvent(f"Expected {NAME_MEANING} - at `{path}[{place}]`")
