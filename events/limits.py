"""Limits of what comes in (contracts, section 2), as annotated types that msgspec enforces."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from feedmill.events.errors import BadEvent

MAX_ID_BYTES = 256
MAX_TEXT_CHARACTERS = 20_000
MAX_SETTING_BYTES = 256 * 1024
MAX_SAFE_INTEGER = 2**53 - 1

# `(?![\s\S])` is the end of the text in Python and in JSON Schema alike;
# Python's `$` would let a line break through.
ID_PATTERN = r"^[^\s|{}\u0000-\u001f\u007f]{1,256}(?![\s\S])"
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}(?![\s\S])"
SHA256_PATTERN = r"^[0-9a-fA-F]{64}(?![\s\S])"

Id = Annotated[
    str,
    Meta(
        pattern=ID_PATTERN,
        max_length=MAX_ID_BYTES,
        description="1 to 256 bytes of UTF-8, printable, without blanks, `|`, `{` and `}`",
    ),
]
Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="A community, language, tenant")]
TimeMs = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER, description="Unix milliseconds")]
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


def check_id(value: str, path: str) -> None:
    """Check what the pattern of `Id` cannot: its size in bytes, and characters beyond ASCII.

    Raises
    ------
    BadEvent
        With `path`, the place of the id in the record.
    """
    if value.isascii():
        return
    size = len(value.encode("utf-8", "replace"))
    if size > MAX_ID_BYTES or not value.isprintable():
        got = f"{size} bytes" if size > MAX_ID_BYTES else repr(value[:40])
        raise BadEvent(
            f"Expected an id of at most {MAX_ID_BYTES} bytes, all characters printable, got {got}"
            f" - at `{path}`"
        )
