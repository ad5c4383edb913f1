"""Reads the entries of a list from a file of text, one a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.limits import ID_PATTERN, SHA256_PATTERN, check_id
from feedmill.events.rules import A_DOMAIN, is_domain
from feedmill.features.hosts import canonical_host
from feedmill.filters.lists import DIGESTS, Digests, ListKind, digest_of

# 60 MB of digests: an artifact has at most 64 MiB once unpacked.
MAX_ENTRIES = 5_000_000
# The longest entry is a domain or an id; blanks may stand around it.
_MOST_LINE_BYTES = 2_000
_ID = re.compile(ID_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)


def read_entries(path: Path, kind: ListKind) -> Digests:
    """Return the digests of a file's entries, ascending and each once: (n,), n > 0.

    Empty lines and those that begin with `#` are left out.

    Raises
    ------
    UsageError
        The file cannot be read, has no entry or too many; or a line is no entry: with its number.
    """
    entry_of = _ENTRY_OF[kind]
    digests = bytearray()
    for number, line in _lines(path):
        try:
            digests += digest_of(entry_of(line))
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: {error}; correct the line") from None
    if not digests:
        raise UsageError(f"{path} has no entry; write one a line")
    found: Digests = np.unique(np.frombuffer(digests, dtype=DIGESTS))
    if len(found) > MAX_ENTRIES:
        raise UsageError(
            f"{path}: expected at most {MAX_ENTRIES:,} entries, got {len(found):,}; make several"
            " lists of them"
        )
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that has an entry."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MOST_LINE_BYTES):
                number += 1
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError:
                    raise UsageError(
                        f"{path}, line {number}: expected UTF-8 and less than"
                        f" {_MOST_LINE_BYTES:,} bytes; correct the line"
                    ) from None
                if text and not text.startswith("#"):
                    yield number, text
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _domain(text: str) -> str:
    host = canonical_host(text) if is_domain(text) else None
    if host is None:
        raise ValueError(f"expected {A_DOMAIN}, got {text[:80]!r}")
    return host


def _sha256(text: str) -> str:
    if not _SHA256.match(text):
        raise ValueError(f"expected a sha256 in 64 hexadecimal digits, got {text[:80]!r}")
    return text.lower()


def _author(text: str) -> str:
    try:
        check_id(text, "author_id")
    except BadEvent as error:
        raise ValueError(str(error)) from None
    if not _ID.match(text):
        raise ValueError(
            f"expected an author's id without blanks, `|`, `{{` and `}}`, got {text[:80]!r}"
        )
    return text


_ENTRY_OF: Mapping[ListKind, Callable[[str], str]] = {
    "domains": _domain,
    "media": _sha256,
    "authors": _author,
}
