"""Reads the entries of a list from a file of text, one a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
# Of wrong lines so many are named.
_MOST_NAMED = 20
# How often the progress of reading is told, in lines.
_TOLD_EVERY = 10_000
_Tell = Callable[[int, int], None] | None
_ID = re.compile(ID_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)


class ListEntries(NamedTuple):
    """The entries of a list, as its artifact has them: `PostList.digests` and `.phrases`."""

    digests: Digests
    phrases: PhraseKeys | None


@dataclass
class WrongLines:
    """The lines of a file that are no entries.

    Attributes
    ----------
    count
        How many there are.
    first
        What is wrong with the first ones, each with its number.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        self.count += 1
        if len(self.first) < _MOST_NAMED:
            self.first.append(f"line {number}: {reason}")

    def text(self) -> str:
        """Name the first ones, and say how many more there are."""
        more = self.count - len(self.first)
        return "; ".join([*self.first, *([f"and {more:,} more lines"] if more else [])])


def read_entries(
    path: Path,
    kind: ListKind,
    skipped: WrongLines | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> ListEntries:
    """Return a file's entries, each once.

    Empty lines and those that begin with `#` are left out; so are wrong ones where `skipped` is
    given, which then has them.  `tell` is told how many bytes are read now and then, of how many.

    Raises
    ------
    UsageError
        The file cannot be read, has no entry or too many; or lines are no entries: with their
        numbers.
    """
    wrong = WrongLines() if skipped is None else skipped
    if kind == "phrases":
        found = _read_phrases(path, wrong, tell)
    else:
        digests = bytearray()
        for entry in _entries(path, _ENTRY_OF[kind], wrong, tell):
            digests += digest_of(entry)
        found = ListEntries(_in_order(digests), None)
    if wrong.count and not len(found.digests):
        raise UsageError(
            f"{path}, {wrong.text()}; no line is an entry: is it the right file, and --kind {kind}?"
        )
    if wrong.count and skipped is None:
        lines = "the line" if wrong.count == 1 else f"these {wrong.count:,} lines"
        raise UsageError(
            f"{path}, {wrong.text()}; correct {lines}, or leave what is wrong out with --skip-bad"
        )
    _check_size(path, found.digests, MAX_PHRASES if kind == "phrases" else MAX_ENTRIES)
    return found


def _read_phrases(path: Path, wrong: WrongLines, tell: _Tell) -> ListEntries:
    digests, keys = bytearray(), [np.zeros(0, dtype=np.uint64)]
    # How many words plain phrases have, and those with symbols.
    counts: tuple[set[int], set[int]] = set(), set()
    phrases = _entries(path, _phrase, wrong, tell)
    while some := list(islice(phrases, _PHRASES_AT_ONCE)):
        for phrase in some:
            digests += digest_of_bytes(phrase.words)
            counts[phrase.has_symbols].add(phrase.word_count)
        keys.append(keys_of([phrase.words for phrase in some]))
    found = _in_order(digests)
    plain, with_symbols = (np.array(sorted(one), dtype=np.uint8) for one in counts)
    return ListEntries(found, PhraseKeys(np.unique(np.concatenate(keys)), plain, with_symbols))


def _in_order(digests: bytearray) -> Digests:
    """Return the digests in order, each once."""
    found: Digests = np.unique(np.frombuffer(digests, dtype=DIGESTS))
    return found


def _check_size(path: Path, digests: Digests, most: int) -> None:
    if not len(digests):
        raise UsageError(f"{path} has no entry; write one a line")
    if len(digests) > most:
        raise UsageError(
            f"{path}: expected at most {most:,} entries, got {len(digests):,}; make several lists"
            " of them"
        )


_Entry = TypeVar("_Entry")


def _entries(
    path: Path, entry_of: Callable[[str], _Entry], wrong: WrongLines, tell: _Tell
) -> Iterator[_Entry]:
    for number, line in _lines(path, wrong, tell):
        try:
            yield entry_of(line)
        except ValueError as error:
            wrong.add(number, str(error))


def _lines(path: Path, wrong: WrongLines, tell: _Tell) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that has an entry."""
    try:
        with path.open("rb") as file:
            number, size = 0, path.stat().st_size
            while line := file.readline(_MOST_LINE_BYTES):
                number += 1
                if tell is not None and number % _TOLD_EVERY == 0:
                    tell(file.tell(), size)
                if len(line) == _MOST_LINE_BYTES and not line.endswith(b"\n"):
                    wrong.add(number, f"expected less than {_MOST_LINE_BYTES:,} bytes, got more")
                    while (rest := file.readline(_MOST_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    continue
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError:
                    wrong.add(number, "expected UTF-8")
                    continue
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
