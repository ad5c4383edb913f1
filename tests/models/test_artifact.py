from pathlib import Path

import msgspec
import numpy as np
import pytest

from feedmill.models.artifact import (
    ModelCard,
    cards_of,
    pack_artifact,
    read_artifact,
    read_card,
    save_artifact,
    sha256_of,
)

FEATURES = ("one", "two")


def _store(folder: Path, arrays: dict[str, np.ndarray] | None = None) -> ModelCard:
    content = pack_artifact({"name": "toy"}, FEATURES, arrays or {"a": np.arange(4.0)})
    card = ModelCard(
        "toy", sha256_of(content), "2026-01-01", "A toy.", 2, [], {"auc": 0.5}, ["all"], "x"
    )
    save_artifact(folder, card, content)
    return card


def test_reads_what_was_saved(tmp_path: Path) -> None:
    card = _store(tmp_path)
    artifact = read_artifact(tmp_path, "toy", FEATURES)
    assert artifact.version == card.version == card.sha256[:12]
    np.testing.assert_array_equal(artifact.arrays["a"], np.arange(4.0))


def test_what_is_not_the_newest_is_stored_beside_what_is(tmp_path: Path) -> None:
    card = _store(tmp_path)
    content = pack_artifact({"name": "toy"}, FEATURES, {"a": np.ones(4)})
    other = msgspec.structs.replace(card, sha256=sha256_of(content))
    save_artifact(tmp_path, other, content, as_newest=False)
    assert read_card(tmp_path, "toy") == card
    assert {one.sha256 for one in cards_of(tmp_path, "toy")} == {card.sha256, other.sha256}
    artifact = read_artifact(tmp_path, "toy", FEATURES, other.sha256)
    np.testing.assert_array_equal(artifact.arrays["a"], np.ones(4))


def test_the_same_arrays_are_the_same_bytes() -> None:
    arrays = {"b": np.ones(3), "a": np.zeros(2)}
    turned = dict(reversed(arrays.items()))
    assert pack_artifact({"x": 1, "y": 2}, FEATURES, arrays) == pack_artifact(
        {"y": 2, "x": 1}, FEATURES, turned
    )


def test_a_new_model_leaves_the_earlier_one_where_it_can_be_restored(tmp_path: Path) -> None:
    old = _store(tmp_path)
    new = _store(tmp_path, {"a": np.ones(2)})
    _store(tmp_path, {"a": np.ones(2)})  # saved again: no earlier model
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f"{old.sha256}.npz", f"{new.sha256}.npz", "toy.json", f"toy@{old.version}.json"]
    )
    (tmp_path / f"toy@{old.version}.json").rename(tmp_path / "toy.json")
    assert read_artifact(tmp_path, "toy", FEATURES).version == old.version


def test_arrays_of_objects_are_not_packed() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        pack_artifact({}, FEATURES, {"a": np.array([{}], dtype=object)})
