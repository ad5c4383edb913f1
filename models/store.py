"""What a store of models holds: the cards of all versions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from feedmill.events.errors import BadArtifact, UsageError
from feedmill.models.artifact import ModelCard, read_card

_LEAST_DIGITS = 6


def cards_of(store: Path, name: str) -> list[ModelCard]:
    """Return the cards of all versions of a model whose artifacts are there, the newest first.

    By the day of their training, then by version.
    """
    cards = {card.sha256: card for card in _all_cards(store) if card.name == name}
    there = [card for card in cards.values() if (store / f"{card.sha256}.npz").is_file()]
    return sorted(there, key=lambda card: (card.trained_on, card.version), reverse=True)


def installed_version(store: Path, name: str) -> str | None:
    """Return the sha256 of the version that runs where none is released; None without a card."""
    try:
        return read_card(store, name).sha256
    except BadArtifact:
        return None


def find_card(store: Path, name: str, version: str) -> ModelCard:
    """Return the card of the version that begins with these hexadecimal digits.

    Raises
    ------
    UsageError
        No version begins so, or several do, or it is no version.
    """
    if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_DIGITS},64}}", version):
        raise UsageError(
            f"version: expected {_LEAST_DIGITS} to 64 small hexadecimal digits, got"
            f" {version[:80]!r}"
        )
    known = cards_of(store, name)
    found = [card for card in known if card.sha256.startswith(version)]
    if len(found) == 1:
        return found[0]
    versions = ", ".join(card.version for card in (found or known)) or "none"
    what = "several versions begin" if found else "no version begins"
    raise UsageError(f"{what} with {version} of `{name}` in {store}; there are: {versions}")


def _all_cards(store: Path) -> Iterable[ModelCard]:
    for path in sorted(store.glob("*.json")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=ModelCard)
        except (msgspec.DecodeError, UnicodeDecodeError, OSError):
            continue
