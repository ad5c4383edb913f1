"""The versions that a store holds."""

from pathlib import Path

import pytest

from builders.model_store import add_version, shipped_store
from feedmill.events.errors import BadArtifact, UsageError
from feedmill.filters.model import STORE as FILTER_STORE
from feedmill.models.artifact import (
    cards_of,
    find_card,
    local_copy,
    read_card,
    read_content,
    save_artifact,
    store_with,
)
from feedmill.models.store_files import RemoteStore, write_file
from feedmill.streams.releases.loading import MODELS, load_model


def test_every_version_whose_artifact_is_there_is_found_the_newest_first(tmp_path: Path) -> None:
    store = shipped_store(tmp_path / "store")
    installed = read_card(store, "quality").sha256
    other = add_version(store, "quality")
    assert {card.sha256 for card in cards_of(store, "quality")} == {installed, other}
    assert {card.name for card in cards_of(store, "quality")} == {"quality"}
    assert find_card(store, "quality", other[:12]).sha256 == other
    (store / f"{other}.npz").unlink()
    (store / "notes.json").write_text("{}")
    assert [card.sha256 for card in cards_of(store, "quality")] == [installed]


def test_a_version_that_no_card_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    store = shipped_store(tmp_path / "store")
    version = read_card(store, "quality").version
    with pytest.raises(UsageError, match=f"no version begins with 000000.*there are: {version}"):
        find_card(store, "quality", "000000")
    with pytest.raises(UsageError, match="expected 6 to 64 small hexadecimal digits"):
        find_card(store, "quality", "../etc")


def test_a_copy_of_what_is_on_a_server_is_checked_and_goes_again(
    tmp_path: Path, s3_store: RemoteStore
) -> None:
    folder = shipped_store(tmp_path / "folder")
    card = read_card(folder, "quality")
    save_artifact(s3_store, card, (folder / f"{card.sha256}.npz").read_bytes())
    with local_copy(s3_store, "quality", card.sha256) as copy:
        assert {path.name for path in copy.iterdir()} == {f"{card.sha256}.npz"}
    assert not copy.exists()
    write_file(s3_store, f"{card.sha256}.npz", b"something else")
    with (
        pytest.raises(BadArtifact, match="was altered"),
        local_copy(s3_store, "quality", card.sha256),
    ):
        pass
    with local_copy(folder, "quality", card.sha256) as same:
        assert same == folder


def test_what_a_store_lacks_comes_from_the_shipped_one(tmp_path: Path) -> None:
    shipped, own = shipped_store(tmp_path / "shipped"), tmp_path / "own"
    other = add_version(shipped, "quality")
    assert store_with(None, "quality", shipped) == shipped
    assert store_with(own, "quality", shipped) == own  # there is no such folder
    own.mkdir()
    assert store_with(own, "quality", shipped) == shipped
    assert store_with(own, "quality", shipped, other) == shipped
    content = read_content(shipped, "quality", other)
    save_artifact(own, find_card(shipped, "quality", other), content)
    assert store_with(own, "quality", shipped) == own
    assert store_with(own, "quality", shipped, other) == own
    # What neither has is an error that names the store of the user.
    assert store_with(own, "quality", shipped, "0" * 64) == own
    assert len(cards_of(own, "quality")) == 1
    both = cards_of(own, "quality", shipped)
    assert [card.sha256 for card in both] == [card.sha256 for card in cards_of(shipped, "quality")]
    assert find_card(own, "quality", both[-1].version, shipped) == both[-1]


def test_a_store_with_one_trained_model_serves_the_shipped_others(tmp_path: Path) -> None:
    card = read_card(FILTER_STORE, "spam")
    save_artifact(tmp_path, card, read_content(FILTER_STORE, "spam", card.sha256))
    for name in MODELS:
        assert load_model(name, tmp_path).version == load_model(name, None).version
    (tmp_path / f"{card.sha256}.npz").unlink()
    with pytest.raises(BadArtifact, match=f"no artifact at {tmp_path}"):
        load_model("spam", tmp_path)
