"""Which artifacts are refused, and with which reasons: `refused_artifacts.txt`."""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from builders.fuzz_targets import TREES
from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events.errors import BadArtifact
from feedmill.features.text.ngrams import BUCKETS
from feedmill.features.text.shape import SHAPE_COLUMNS
from feedmill.models import artifact, text_model, trees
from feedmill.models.artifact import (
    Arrays,
    Artifact,
    ModelCard,
    pack_artifact,
    read_artifact,
    save_artifact,
    sha256_of,
)
from feedmill.models.text_model import (
    LinearText,
    NgramModel,
    read_linear_text,
    read_ngram_model,
    read_trees,
    tree_arrays,
)
from feedmill.models.trees import Trees

FEATURES = ("one", "two")
TOY = {"name": "toy"}


def stored(folder: Path, content: bytes, sha256: str = "") -> ModelCard:
    """Save an artifact with a card of it, or of another sha256, in a store of its own."""
    card = ModelCard("toy", sha256 or sha256_of(content), "2026-01-01", "", 2, [], {}, [], "")
    save_artifact(folder, card, content)
    return card


def no_card(folder: Path) -> None:
    folder.mkdir()


def no_json(folder: Path) -> None:
    no_card(folder)
    (folder / "toy.json").write_text("{")


def no_model_card(folder: Path) -> None:
    no_card(folder)
    (folder / "toy.json").write_text('{"name":"toy"}')


def no_artifact(folder: Path) -> None:
    card = stored(folder, pack_artifact(TOY, FEATURES, {}))
    (folder / f"{card.sha256}.npz").unlink()


def altered(folder: Path) -> None:
    stored(folder, pack_artifact(TOY, FEATURES, {}), sha256="0" * 64)


def no_archive(folder: Path) -> None:
    stored(folder, b"PK\x03\x04 not a zip")


def of_zeros(folder: Path) -> None:
    zeros = np.zeros(artifact.MAX_UNPACKED_BYTES + 1, np.uint8)
    stored(folder, pack_artifact(TOY, FEATURES, {"zeros": zeros}))


def with_text(folder: Path) -> None:
    file = io.BytesIO(pack_artifact(TOY, FEATURES, {}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo("readme.npy"), b"no array")
    stored(folder, file.getvalue())


def other_features(folder: Path) -> None:
    stored(folder, pack_artifact(TOY, ("one", "three"), {}))


def another_model(folder: Path) -> None:
    stored(folder, pack_artifact({"name": "ball"}, FEATURES, {}))


def other_build(key: str) -> Callable[[Path], None]:
    def store(folder: Path) -> None:
        current = getattr(artifact, key)
        try:
            setattr(artifact, key, 1)
            stored(folder, pack_artifact(TOY, FEATURES, {}))
        finally:
            setattr(artifact, key, current)

    return store


STORES: Mapping[str, Callable[[Path], None]] = {
    "no card": no_card,
    "a card that is no JSON": no_json,
    "a card without most fields": no_model_card,
    "no artifact": no_artifact,
    "an altered artifact": altered,
    "an artifact that is no archive": no_archive,
    "another model": another_model,
    "an artifact that unpacks to too much": of_zeros,
    "an artifact with a member that is no array": with_text,
    "other features": other_features,
    "another number of hash bits": other_build("HASH_BITS"),
    "another version of the featuriser": other_build("FEATURISER_VERSION"),
}

WEIGHTS = np.zeros(BUCKETS, dtype=np.int16)
LINEAR = np.array([1.0, 0.0, 1.0])


def words(arrays: Arrays) -> NgramModel:
    return read_ngram_model(made(arrays), "words")


def made(arrays: Arrays) -> Artifact:
    return Artifact("toy", "0123456789ab", arrays, {})


def linear(arrays: Arrays) -> LinearText:
    return read_linear_text(made(arrays), "words")


def linear_text(columns: int, weight: float = 0.0) -> Arrays:
    ngrams = {"table_words": WEIGHTS, "linear_words": LINEAR}
    return {**ngrams, "shape_words": np.full(columns, weight)}


ARRAYS: Mapping[str, tuple[Callable[[Arrays], object], Arrays]] = {
    "an array is missing": (words, {}),
    "weights of another number of buckets": (
        words,
        {"table_words": WEIGHTS[:4], "linear_words": LINEAR},
    ),
    "text for numbers": (words, {"table_words": np.full(BUCKETS, "1"), "linear_words": LINEAR}),
    "constants that are no numbers": (
        words,
        {"table_words": WEIGHTS, "linear_words": LINEAR * np.nan},
    ),
    "weights that are too large": (
        words,
        {"table_words": WEIGHTS + np.int16(-32_768), "linear_words": LINEAR},
    ),
    "a word factor that is too large": (
        words,
        {"table_words": WEIGHTS, "linear_words": LINEAR * 1e30},
    ),
    "constants that are not three": (words, {"table_words": WEIGHTS, "linear_words": LINEAR[:2]}),
    "trees that are no text": (
        lambda arrays: read_trees(made(arrays), "trees", 2),
        {"trees": np.array([255, 254], dtype=np.uint8)},
    ),
    "trees of other columns": (
        lambda arrays: read_trees(made(arrays), "trees", 3),
        tree_arrays(TREES),
    ),
    "trees with a leaf that is too large": (
        lambda arrays: read_trees(made(arrays), "trees", 2),
        tree_arrays(TREES.replace("0.25", "1e7")),
    ),
    "weights for another shape": (linear, linear_text(3)),
    "a shape weight that is too large": (linear, linear_text(len(SHAPE_COLUMNS), 1e7)),
}


def with_field(key: str, value: str) -> str:
    return "\n".join(
        f"{key}={value}" if line.startswith(f"{key}=") else line for line in TREES.splitlines()
    )


def chain(leaves: int) -> str:
    """A tree of so many leaves, each split's left side a leaf."""
    splits = leaves - 1
    fields: dict[str, list[Any]] = {
        "split_feature": [0] * splits,
        "threshold": [*range(splits)],
        "decision_type": [2] * splits,
        "left_child": [-1 - i for i in range(splits)],
        "right_child": [*range(1, splits), -leaves],
        "leaf_value": [0.5] * leaves,
    }
    lines = [f"{key}={' '.join(map(str, values))}" for key, values in fields.items()]
    return "\n".join(["max_feature_idx=1", "", "Tree=0", f"num_leaves={leaves}", *lines])


TEXTS: Mapping[str, str] = {
    "no text": "",
    "no number of leaves": with_field("num_leaves", "x"),
    "fewer leaves than splits name": with_field("leaf_value", "0.25"),
    "a split beyond the features": with_field("split_feature", "2"),
    "fewer features than one": with_field("max_feature_idx", "-2"),
    "a split on a feature before the first": with_field("split_feature", "-1"),
    "a feature number beyond any machine's": with_field("max_feature_idx", "9" * 30).replace(
        "split_feature=0", f"split_feature={'9' * 29}"
    ),
    "a threshold that is no number": with_field("threshold", "nan"),
    "a leaf that is infinite": with_field("leaf_value", "0.25 inf"),
    "a categorical split": with_field("decision_type", "1"),
    "a split that takes 0 for a missing value": with_field("decision_type", "6"),
    "a tree that leads back into itself": with_field("left_child", "0"),
    "a tree of too many leaves": chain(65),
}


def test_artifacts_are_refused_with_what_is_wrong_and_the_way_out(
    golden: Golden, tmp_path: Path
) -> None:
    refusals = Refusals(BadArtifact, artifact, text_model, trees, causes=(ValueError,))
    for number, (title, store) in enumerate(STORES.items()):
        folder = tmp_path / str(number)
        store(folder)
        refusals.add(f"store: {title}", read_artifact, folder, "toy", FEATURES)
    for title, (read, arrays) in ARRAYS.items():
        refusals.add(f"arrays: {title}", read, arrays)
    for title, lightgbm in TEXTS.items():
        refusals.add(f"trees: {title}", Trees.parse, lightgbm)
    # Another zlib compresses to other bytes, and so to another sha256.
    text = refusals.text().replace(str(tmp_path), "<store>")
    masked = re.sub("[0-9a-f]{12,}", "<sha256>", text)
    golden.check("refused_artifacts.txt", masked)
    assert refusals.not_reached() == []


def test_the_trees_are_right_but_for_what_is_changed() -> None:
    trees = Trees.parse(TREES)
    np.testing.assert_array_equal(
        trees.raw_scores(np.array([[0.0, 9.0], [1.0, 9.0]])), [0.25, -0.25]
    )
    assert len(Trees.parse(chain(64)).leaf_values[0]) == 64
