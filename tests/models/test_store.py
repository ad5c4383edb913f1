"""The versions that a store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.model_store import add_version, shipped_store
from feedmill.events.errors import UsageError
from feedmill.models.artifact import read_card
from feedmill.models.store import cards_of, find_card, installed_version


def test_every_version_whose_artifact_is_there_is_found_the_newest_first(tmp_path: Path) -> None:
    store = shipped_store(tmp_path / "store")
    installed = read_card(store, "quality").sha256
    other = add_version(store, "quality")
    assert {card.sha256 for card in cards_of(store, "quality")} == {installed, other}
    assert {card.name for card in cards_of(store, "quality")} == {"quality"}
    assert installed_version(store, "quality") == installed
    assert find_card(store, "quality", other[:12]).sha256 == other
    (store / f"{other}.npz").unlink()
    (store / "notes.json").write_text("{}")
    assert [card.sha256 for card in cards_of(store, "quality")] == [installed]
    assert installed_version(tmp_path, "quality") is None


def test_a_version_that_no_card_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    store = shipped_store(tmp_path / "store")
    version = read_card(store, "quality").version
    with pytest.raises(UsageError, match=f"no version begins with 000000.*there are: {version}"):
        find_card(store, "quality", "000000")
    with pytest.raises(UsageError, match="expected 6 to 64 small hexadecimal digits"):
        find_card(store, "quality", "../etc")
