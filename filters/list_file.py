"""Reads the entries of a list from a file of text, one a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.limits import ID_PATTERN, SHA256_PATTERN, check_id
from feedmill.events.rules import A_DOMAIN, MAX_PHRASE_CHARACTERS, is_domain
from feedmill.features.hosts import canonical_host
from feedmill.filters.lists import DIGESTS, Digests, ListKind, digest_of, digest_of_bytes
from feedmill.filters.phrase_keys import MAX_PHRASE_WORDS, PhraseKeys, joined, keys_of
from feedmill.filters.phrase_words import phrase_words

# 60 MB of digests, or of digests and keys: an artifact has at most 64 MiB once unpacked.
MAX_ENTRIES = 5_000_000
MAX_PHRASES = 3_000_000
_PHRASES_AT_ONCE = 10_000
# The longest entry is a domain or an id; blanks may stand around it.
_MOST_LINE_BYTES = 2_000
_ID = re.compile(ID_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)


class ListEntries(NamedTuple):
    """The entries of a list, as its artifact has them: `PostList.digests` and `.phrases`."""

    digests: Digests
    phrases: PhraseKeys | None


def read_entries(path: Path, kind: ListKind) -> ListEntries:
    """Return a file's entries, each once.

    Empty lines and those that begin with `#` are left out.

    Raises
    ------
    UsageError
        The file cannot be read, has no entry or too many; or a line is no entry: with its number.
    """
    if kind == "phrases":
        return _read_phrases(path)
    digests = bytearray()
    for entry in _entries(path, _ENTRY_OF[kind]):
        digests += digest_of(entry)
    return ListEntries(_checked(path, digests, MAX_ENTRIES), None)


def _read_phrases(path: Path) -> ListEntries:
    digests, keys = bytearray(), [np.zeros(0, dtype=np.uint64)]
    # How many words plain phrases have, and those with symbols.
    counts: tuple[set[int], set[int]] = set(), set()
    phrases = _entries(path, _phrase)
    while some := list(islice(phrases, _PHRASES_AT_ONCE)):
        for phrase in some:
            digests += digest_of_bytes(phrase.words)
            counts[phrase.has_symbols].add(phrase.word_count)
        keys.append(keys_of([phrase.words for phrase in some]))
    found = _checked(path, digests, MAX_PHRASES)
    plain, with_symbols = (np.array(sorted(one), dtype=np.uint8) for one in counts)
    return ListEntries(found, PhraseKeys(np.unique(np.concatenate(keys)), plain, with_symbols))


def _checked(path: Path, digests: bytearray, most: int) -> Digests:
    """Return the digests in order, each once."""
    if not digests:
        raise UsageError(f"{path} has no entry; write one a line")
    found: Digests = np.unique(np.frombuffer(digests, dtype=DIGESTS))
    if len(found) > most:
        raise UsageError(
            f"{path}: expected at most {most:,} entries, got {len(found):,}; make several lists of"
            " them"
        )
    return found


_Entry = TypeVar("_Entry")


def _entries(path: Path, entry_of: Callable[[str], _Entry]) -> Iterator[_Entry]:
    for number, line in _lines(path):
        try:
            yield entry_of(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: {error}; correct the line") from None


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
    if not _ID.match(text):
        raise ValueError(
            f"expected an author's id without blanks, `|`, `{{` and `}}`, got {text[:80]!r}"
        )
    try:
        check_id(text, "author_id")
    except BadEvent as error:
        raise ValueError(str(error)) from None
    return text


class _Phrase(NamedTuple):
    """The words of a phrase with blanks between them, how many, and whether some are symbols."""

    words: bytes
    word_count: int
    has_symbols: bool


def _phrase(text: str) -> _Phrase:
    found, has_symbols = phrase_words(text)
    if not found or len(text) > MAX_PHRASE_CHARACTERS or len(found) > MAX_PHRASE_WORDS:
        raise ValueError(
            f"expected a phrase of 1 to {MAX_PHRASE_WORDS} words or symbols and at most"
            f" {MAX_PHRASE_CHARACTERS} characters, got {len(found)} and {len(text)} in"
            f" {text[:80]!r}"
        )
    return _Phrase(joined(found), len(found), has_symbols)


_ENTRY_OF: Mapping[ListKind, Callable[[str], str]] = {
    "domains": _domain,
    "media": _sha256,
    "authors": _author,
}
