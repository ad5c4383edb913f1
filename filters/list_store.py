"""Lists in a store of models: an artifact named by its sha256, and a card for each version.

`<sha256>.npz` is the artifact, `list.<filter>.<name>@<version>.json` the card.  The same entries
give the same bytes; source, licence and date stand on the card, outside of the hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact, BadEvent, UsageError
from feedmill.events.limits import ID_PATTERN, SHA256_PATTERN, Sha256, check_id
from feedmill.events.rules import A_DOMAIN, MAX_PHRASE_CHARACTERS, RuleAction, is_domain
from feedmill.features.hosts import canonical_host
from feedmill.filters.lists import (
    DIGESTS,
    KINDS,
    Digests,
    ListKind,
    PostList,
    digest_of,
    digest_of_bytes,
)
from feedmill.filters.phrases import (
    MAX_PHRASE_WORDS,
    PhraseKeys,
    WordCounts,
    joined,
    keys_of,
    phrase_words,
)
from feedmill.filters.rules import VERDICT_RANK
from feedmill.models.artifact import (
    Arrays,
    card_files,
    check_digits,
    pack_artifact,
    unpack_artifact,
)
from feedmill.models.store_files import Store, file_sizes, read_hashed, write_file

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

# Raise this number when an entry gets another form, digest or key.
LIST_FORMAT = 1


class ListEntries(NamedTuple):
    """The entries of a list, as its artifact has them: `PostList.digests` and `.phrases`."""

    digests: Digests
    phrases: PhraseKeys | None


@dataclass
class WrongLines:
    """The lines of a file that are no entries."""

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
    tell: _Tell = None,
) -> ListEntries:
    """Return a file's entries, each once.

    Empty lines and those that begin with `#` are left out; so are wrong ones where `skipped` is
    given, which then has them.  `tell` is told how many bytes are read now and then, of how many.

    Raises `UsageError`: the file cannot be read, has no entry or too many; or lines are no
    entries: with their numbers.
    """
    wrong = WrongLines() if skipped is None else skipped
    if kind == "phrases":
        found = _read_phrases(path, wrong, tell)
    else:
        digests = bytearray()
        for entry in _entries(path, _ENTRY_OF[kind], wrong, tell):
            digests += digest_of(entry)
        found = ListEntries(np.unique(np.frombuffer(digests, dtype=DIGESTS)), None)
    if wrong.count and not len(found.digests):
        raise UsageError(
            f"{path}, {wrong.text()}; no line is an entry: is it the right file, and --kind {kind}?"
        )
    if wrong.count and skipped is None:
        lines = "the line" if wrong.count == 1 else f"these {wrong.count:,} lines"
        raise UsageError(
            f"{path}, {wrong.text()}; correct {lines}, or leave what is wrong out with --skip-bad"
        )
    if not len(found.digests):
        raise UsageError(f"{path} has no entry; write one a line")
    most = MAX_PHRASES if kind == "phrases" else MAX_ENTRIES
    if len(found.digests) > most:
        raise UsageError(
            f"{path}: expected at most {most:,} entries, got {len(found.digests):,}; make several"
            " lists of them"
        )
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
    found = np.unique(np.frombuffer(digests, dtype=DIGESTS))
    plain, with_symbols = (np.array(sorted(sizes), dtype=np.uint8) for sizes in counts)
    return ListEntries(found, PhraseKeys(np.unique(np.concatenate(keys)), plain, with_symbols))


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


class ListCard(msgspec.Struct, frozen=True):
    """What a version of a list is, and where it is from.

    Attributes
    ----------
    source, licence, date
        Where the entries are from, what may be done with them, and of which day they are.
    """

    name: str
    filter: str
    kind: ListKind
    verdict: RuleAction
    entries: int
    sha256: Sha256
    source: str
    licence: str
    date: str

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]


def pack_list(
    filter_name: str, name: str, kind: ListKind, verdict: RuleAction, entries: ListEntries
) -> bytes:
    """Return the bytes of a list's artifact, given its entries as `read_entries` returns them."""
    metadata = {
        "list": name,
        "filter": filter_name,
        "kind": kind,
        "verdict": verdict,
        "list_format": LIST_FORMAT,
    }
    # Plain bytes: what stands in the file does not depend on how numpy names its types of text.
    rows = np.frombuffer(entries.digests.tobytes(), dtype=np.uint8)
    arrays: Arrays = {"digests": rows.reshape(-1, DIGESTS.itemsize)}
    if entries.phrases is not None:
        arrays["keys"] = entries.phrases.keys
        arrays["word_counts"] = entries.phrases.word_counts
        arrays["symbol_word_counts"] = entries.phrases.symbol_word_counts
    return pack_artifact(metadata, (), arrays)


def save_list(store: Store, card: ListCard, content: bytes) -> None:
    """Write artifact, then card; raises `OSError` or `UsageError` where it cannot."""
    write_file(store, f"{card.sha256}.npz", content)
    encoded = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    write_file(store, f"list.{card.filter}.{card.name}@{card.version}.json", encoded)


def read_list(store: Store, filter_name: str, name: str, sha256: str) -> PostList:
    """Read a list by its sha256, and check all that is in it.

    Raises
    ------
    BadArtifact
        It is missing or altered, another list, or none that this build reads.
    UsageError
        The file is too large, or the store cannot be read.
    """
    label = f"list `{filter_name}/{name}@{sha256[:12]}`"
    content = read_hashed(
        store,
        sha256,
        label,
        if_missing="build it there, or restore the file",
        if_altered="restore the file, or build the list again",
    )
    arrays, metadata = unpack_artifact(content, label)
    found = metadata.get("filter"), metadata.get("list")
    if found != (filter_name, name):
        raise BadArtifact(f"{label}: the artifact is the list {found}; release the right one")
    kind, verdict = metadata.get("kind"), metadata.get("verdict")
    if (metadata.get("list_format"), kind in KINDS) != (LIST_FORMAT, True):
        raise BadArtifact(
            f"{label}: it has format {metadata.get('list_format')} and kind {kind}, this build"
            f" reads format {LIST_FORMAT} of {', '.join(KINDS)}; build it again with this build"
        )
    if verdict not in tuple(VERDICT_RANK):
        raise BadArtifact(f"{label}: `{verdict}` is no verdict; build it again")
    most = MAX_PHRASES if kind == "phrases" else MAX_ENTRIES
    digests = _digests(arrays, most, label)
    phrases = _phrase_keys(arrays, len(digests), label) if kind == "phrases" else None
    kind = cast(ListKind, kind)
    return PostList(filter_name, name, kind, verdict, sha256[:12], digests, phrases)


def _digests(arrays: Arrays, most: int, label: str) -> Digests:
    rows = arrays.get("digests")
    if (
        rows is None
        or (rows.dtype, rows.ndim) != (np.dtype(np.uint8), 2)
        or rows.shape[1] != DIGESTS.itemsize
        or not 0 < len(rows) <= most
    ):
        raise BadArtifact(
            f"{label}: expected 1 to {most:,} digests of {DIGESTS.itemsize} bytes; build it again"
        )
    digests: Digests = np.frombuffer(rows.tobytes(), dtype=DIGESTS)
    if not (digests[1:] > digests[:-1]).all():
        raise BadArtifact(f"{label}: its digests are not in order; build it again")
    return digests


def _phrase_keys(arrays: Arrays, phrases: int, label: str) -> PhraseKeys:
    keys = _ascending(arrays, "keys", np.uint64)
    if keys is None or not 0 < len(keys) <= phrases:
        raise BadArtifact(
            f"{label}: expected 1 to {phrases:,} keys of 64 bits in order; build it again"
        )
    counts = [_word_counts(arrays, name, label) for name in ("word_counts", "symbol_word_counts")]
    return PhraseKeys(keys, *counts)


def _word_counts(arrays: Arrays, name: str, label: str) -> WordCounts:
    counts = _ascending(arrays, name, np.uint8)
    if counts is None or not ((counts > 0) & (counts <= MAX_PHRASE_WORDS)).all():
        raise BadArtifact(
            f"{label}: expected in `{name}` numbers from 1 to {MAX_PHRASE_WORDS} in order; build"
            " it again"
        )
    return counts


def _ascending(arrays: Arrays, name: str, dtype: type[np.generic]) -> npt.NDArray[Any] | None:
    """Return an array of one dimension, this type and rising values; None if it is another."""
    array = arrays.get(name)
    if array is None or (array.dtype, array.ndim) != (np.dtype(dtype), 1):
        return None
    return array if (array[1:] > array[:-1]).all() else None


def list_cards(store: Store) -> list[ListCard]:
    """Return the cards of all versions of lists whose artifacts are there.

    By filter, name, date, then version.
    """
    files = file_sizes(store)
    named = {name: size for name, size in files.items() if name.startswith("list.")}
    cards = card_files(store, named, ListCard).values()
    there = [card for card in cards if f"{card.sha256}.npz" in files]
    return sorted(there, key=lambda card: (card.filter, card.name, card.date, card.version))


def find_list_card(store: Store, filter_name: str, name: str, version: str | None) -> ListCard:
    """Return the card of a list's version that begins with these hexadecimal digits.

    None stands for the only version that there is.

    Raises `UsageError`: no version begins so, or several do, or it is no version.
    """
    if version is not None:
        check_digits(version)
    cards = list_cards(store)
    known = [card for card in cards if (card.filter, card.name) == (filter_name, name)]
    if not known:
        others = ", ".join(sorted({f"{card.filter}/{card.name}" for card in cards}))
        way_out = f"there are: {others}" if others else "`feedmill lists build` makes one"
        raise UsageError(f"no list `{filter_name}/{name}` in {store}; {way_out}")
    found = [card for card in known if card.sha256.startswith(version or "")]
    if len(found) == 1:
        return found[0]
    versions = ", ".join(card.version for card in (found or known))
    what = "several versions" if found else "no version"
    begin = f" that begins with {version}" if version else ""
    raise UsageError(
        f"{what} of the list `{filter_name}/{name}`{begin} in {store}; there are: {versions}"
    )
