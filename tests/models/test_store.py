"""The versions that a store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.model_store import add_version, shipped_store
from feedmill.events.errors import BadArtifact, UsageError
from feedmill.models.artifact import read_artifact, read_card, save_artifact
from feedmill.models.remote_store import RemoteStore
from feedmill.models.store import cards_of, find_card, installed_version, local_copy
from feedmill.models.store_files import file_sizes, write_file


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


def test_an_s3_store_holds_what_a_folder_does(tmp_path: Path, s3_store: RemoteStore) -> None:
    folder = shipped_store(tmp_path / "folder")
    other = add_version(folder, "quality")
    assert installed_version(s3_store, "quality") is None
    for card in (find_card(folder, "quality", other), read_card(folder, "quality")):
        save_artifact(s3_store, card, (folder / f"{card.sha256}.npz").read_bytes())
    assert cards_of(s3_store, "quality") == cards_of(folder, "quality")
    assert installed_version(s3_store, "quality") == installed_version(folder, "quality")
    assert find_card(s3_store, "quality", other[:12]).sha256 == other
    # The card that was installed first stays beside the one that is now.
    assert f"quality@{other[:12]}.json" in file_sizes(s3_store)
    write_file(s3_store, f"{other}.npz", b"something else")
    with pytest.raises(BadArtifact, match=rf"s3://.*{other}\.npz was altered"):
        read_artifact(s3_store, "quality", (), other)


def test_a_copy_of_what_is_on_a_server_is_checked_and_goes_again(
    tmp_path: Path, s3_store: RemoteStore
) -> None:
    folder = shipped_store(tmp_path / "folder")
    card = read_card(folder, "quality")
    save_artifact(s3_store, card, (folder / f"{card.sha256}.npz").read_bytes())
    with local_copy(s3_store, "quality", None) as copy:
        assert copy is not None
        assert read_card(copy, "quality") == card
        assert {path.name for path in copy.iterdir()} == {"quality.json", f"{card.sha256}.npz"}
    assert not copy.exists()
    write_file(s3_store, f"{card.sha256}.npz", b"something else")
    with (
        pytest.raises(BadArtifact, match="was altered"),
        local_copy(s3_store, "quality", card.sha256),
    ):
        pass
    with local_copy(folder, "quality", None) as same:
        assert same == folder
