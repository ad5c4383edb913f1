"""What a store of models holds: the cards of all versions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from feedmill.events.errors import BadArtifact, UsageError
from feedmill.models.artifact import ModelCard, card_file, read_card, read_content
from feedmill.models.store_files import Store, file_sizes, read_files, write_file

_LEAST_DIGITS = 6
Card = TypeVar("Card")


def cards_of(store: Store, name: str) -> list[ModelCard]:
    """Return the cards of all versions of a model whose artifacts are there, the newest first.

    By the day of their training, then by version.
    """
    files = file_sizes(store)
    own = {file: n for file, n in files.items() if file.partition("@")[0] in (name, f"{name}.json")}
    cards = {
        card.sha256: card
        for card in card_files(store, own, ModelCard).values()
        if card.name == name
    }
    there = [card for card in cards.values() if f"{card.sha256}.npz" in files]
    return sorted(there, key=lambda card: (card.trained_on, card.version), reverse=True)


def installed_version(store: Store, name: str) -> str | None:
    """Return the sha256 of the version that runs where none is released; None without a card."""
    try:
        return read_card(store, name).sha256
    except BadArtifact:
        return None


def find_card(store: Store, name: str, version: str) -> ModelCard:
    """Return the card of the version that begins with these hexadecimal digits.

    Raises
    ------
    UsageError
        No version begins so, or several do, or it is no version.
    """
    check_digits(version)
    known = cards_of(store, name)
    found = [card for card in known if card.sha256.startswith(version)]
    if len(found) == 1:
        return found[0]
    versions = ", ".join(card.version for card in (found or known)) or "none"
    what = "several versions begin" if found else "no version begins"
    raise UsageError(f"{what} with {version} of `{name}` in {store}; there are: {versions}")


def check_digits(version: str) -> None:
    """Raise `UsageError` unless these are the first digits of some sha256, enough of them."""
    if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_DIGITS},64}}", version):
        raise UsageError(
            f"version: expected {_LEAST_DIGITS} to 64 small hexadecimal digits, got"
            f" {version[:80]!r}"
        )


def card_files(store: Store, sizes: Mapping[str, int], card_type: type[Card]) -> dict[str, Card]:
    """Return the cards among some files of a store, given with their sizes, by the file's name."""
    found = {}
    for name, content in read_files(store, sizes).items():
        try:
            found[name] = msgspec.json.decode(content, type=card_type)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


@contextmanager
def local_copy(store: Store | None, name: str, sha256: str | None) -> Iterator[Path | None]:
    """Give a folder in which a model of a store is: the store itself, or a copy for as long.

    A copy has the artifact, checked by its sha256; where that is None, also the card.  Waits for
    the server of the store.

    Raises
    ------
    BadArtifact, UsageError
        As `read_artifact`, of what is read here.
    """
    if store is None or isinstance(store, Path):
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="feedmill-") as path:
        folder = Path(path)
        if sha256 is None:
            card = read_card(store, name)
            write_file(folder, f"{name}.json", card_file(card))
            sha256 = card.sha256
        write_file(folder, f"{sha256}.npz", read_content(store, name, sha256))
        yield folder
