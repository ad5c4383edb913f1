"""What a store of models holds: the cards of all versions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard, read_content
from feedmill.models.store_files import Store, file_sizes, has_file, read_files, write_file

_LEAST_DIGITS = 6
Card = TypeVar("Card")


def store_with(store: Store | None, name: str, shipped: Path, sha256: str | None = None) -> Store:
    """Return the store that has a model: the given one, or the shipped one where that lacks it.

    It has a model if it has the card `<name>.json`, and a version if it has the artifact of this
    sha256.  What neither has is looked for in the given one, which errors then name; so is all
    where that is no folder, but a mistyped one.

    Raises `UsageError`: the server of the store does not tell.
    """
    file = f"{name}.json" if sha256 is None else f"{sha256}.npz"
    if store is None:
        return shipped
    is_there = not isinstance(store, Path) or store.is_dir()
    lacks = is_there and not has_file(store, file) and has_file(shipped, file)
    return shipped if lacks else store


def cards_of(store: Store, name: str, shipped: Path | None = None) -> list[ModelCard]:
    """Return the cards of all versions of a model whose artifacts are there, the newest first.

    By the day of their training, then by version.  Those of `shipped` are among them.
    """
    if shipped is not None:
        found = {card.sha256: card for one in (shipped, store) for card in cards_of(one, name)}
        return _newest_first(found.values())
    files = file_sizes(store)
    own = {file: n for file, n in files.items() if file.partition("@")[0] in (name, f"{name}.json")}
    cards = {
        card.sha256: card
        for card in card_files(store, own, ModelCard).values()
        if card.name == name
    }
    return _newest_first(card for card in cards.values() if f"{card.sha256}.npz" in files)


def _newest_first(cards: Iterable[ModelCard]) -> list[ModelCard]:
    return sorted(cards, key=lambda card: (card.trained_on, card.version), reverse=True)


def find_card(store: Store, name: str, version: str, shipped: Path | None = None) -> ModelCard:
    """Return the card of the version that begins with these hexadecimal digits, as `cards_of`.

    Raises `UsageError`: no version begins so, or several do, or it is no version.
    """
    check_digits(version)
    known = cards_of(store, name, shipped)
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
def local_copy(store: Store, name: str, sha256: str) -> Iterator[Path]:
    """Give a folder in which a version of a store is: the store itself, or a copy for as long.

    A copy has the artifact, checked by its sha256.  Waits for the server of the store.

    Raises `BadArtifact` or `UsageError`: as `read_artifact`, of what is read here.
    """
    if isinstance(store, Path):
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="feedmill-") as path:
        folder = Path(path)
        write_file(folder, f"{sha256}.npz", read_content(store, name, sha256))
        yield folder
