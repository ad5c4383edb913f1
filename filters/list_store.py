"""Lists in a store of models: an artifact named by its sha256, and a card for each version.

`<sha256>.npz` is the artifact, `list.<filter>.<name>@<version>.json` the card.  The same entries
give the same bytes; source, licence and date stand on the card, outside of the hash.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact, UsageError
from feedmill.events.limits import Sha256
from feedmill.events.rules import RuleAction
from feedmill.filters.list_file import MAX_ENTRIES, MAX_PHRASES, ListEntries
from feedmill.filters.lists import DIGESTS, KINDS, Digests, ListKind, PostList
from feedmill.filters.phrase_keys import MAX_PHRASE_WORDS, PhraseKeys, WordCounts
from feedmill.filters.rules import VERDICT_RANK
from feedmill.models.artifact import Arrays, pack_artifact, unpack_artifact
from feedmill.models.store import card_files, check_digits
from feedmill.models.store_files import Store, file_sizes, read_hashed, write_file

# Raise this number when an entry gets another form, digest or key.
LIST_FORMAT = 1


class ListCard(msgspec.Struct, frozen=True):
    """What a version of a list is, and where it is from.

    Attributes
    ----------
    name, filter, kind, verdict, entries, sha256
        Of the artifact.
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

    Raises
    ------
    UsageError
        No version begins so, or several do, or it is no version.
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
