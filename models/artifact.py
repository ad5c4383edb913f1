"""Model artifacts: one file of arrays, named by its sha256, and a card beside it.  Never pickle.

A store is a folder: ``<name>.json`` is the card, ``<sha256>.npz`` the artifact it names.  The
same arrays give the same bytes, so that a retrained model with the same sha256 is the same model.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact, UsageError
from feedmill.features.text.ngrams import HASH_BITS

Arrays = dict[str, npt.NDArray[Any]]
# Raise when the meaning of a token or a shape column changes without a change of its name.
FEATURISER_VERSION = 3


class DataUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data set a model learned from.

    `sha256` is the file's, `split` the rule that tells which of its rows neither trained nor tuned.
    """

    file: str
    rows: int
    licence: str
    role: str
    sha256: str = ""
    split: str = ""


class ModelCard(msgspec.Struct, frozen=True):
    """What a model is, learned from and can do; everything in it was measured by the trainer."""

    name: str
    sha256: str
    trained_on: str  # the day, ISO 8601
    summary: str
    features: int
    data: list[DataUse]
    metrics: dict[str, float]
    weaknesses: list[str]
    command: str

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A checked artifact: its version, arrays and settings."""

    name: str
    version: str
    arrays: Arrays
    metadata: dict[str, Any]


def pack_artifact(meta: Mapping[str, Any], features: Sequence[str], arrays: Arrays) -> bytes:
    """Return the artifact's bytes; `features` are the names of its columns, in order."""
    full = {
        **meta,
        "features": list(features),
        "hash_bits": HASH_BITS,
        "featuriser": FEATURISER_VERSION,
    }
    encoded = np.frombuffer(msgspec.json.encode(full, order="deterministic"), dtype=np.uint8)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for key, array in sorted({**arrays, "meta": encoded}.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            # A ZipInfo of its own has a fixed date; a path's would have today's.
            info = zipfile.ZipInfo(f"{key}.npy")
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return file.getvalue()


def sha256_of(content: bytes) -> str:
    """Return the sha256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes; raises `UsageError`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def save_artifact(store: Path, card: ModelCard, content: bytes) -> None:
    """Write artifact and card, and remove the artifact the card named before."""
    store.mkdir(parents=True, exist_ok=True)
    path = store / f"{card.name}.json"
    (store / f"{card.sha256}.npz").write_bytes(content)
    if path.exists():
        old = read_card(store, card.name).sha256
        if old != card.sha256:
            (store / f"{old}.npz").unlink(missing_ok=True)
    text = msgspec.json.format(msgspec.json.encode(card), indent=2)
    path.write_bytes(text + b"\n")


def read_card(store: Path, name: str) -> ModelCard:
    """Read the card of a model; raises `BadArtifact`."""
    path = store / f"{name}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelCard)
    except (OSError, msgspec.DecodeError) as error:
        raise BadArtifact(
            f"model `{name}`: no card at {path} ({error}); train it or restore the file"
        ) from error


def read_artifact(store: Path, name: str, features: Sequence[str]) -> Artifact:
    """Read, check against its card and against this build's `features`; raises `BadArtifact`."""
    card = read_card(store, name)
    path = store / f"{card.sha256}.npz"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadArtifact(
            f"model `{name}@{card.version}`: no artifact at {path}; train it or restore the file"
        ) from error
    found = sha256_of(content)
    if found != card.sha256:
        raise BadArtifact(
            f"model `{name}@{card.version}`: {path} was altered (its sha256 is {found[:12]}…, the "
            f"card says {card.version}…); restore the file or retrain"
        )
    arrays, meta = _unpack(content, f"model `{name}@{card.version}`")
    _check_features(f"model `{name}@{card.version}`", meta, features)
    return Artifact(name, card.version, arrays, meta)


def _unpack(content: bytes, what: str) -> tuple[Arrays, dict[str, Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as members:
            arrays = {key: members[key] for key in members.files}
        meta = msgspec.json.decode(arrays.pop("meta").tobytes(), type=dict[str, Any])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BadArtifact(f"{what}: not an artifact ({error}); retrain") from error
    return arrays, meta


def _check_features(what: str, meta: Mapping[str, Any], features: Sequence[str]) -> None:
    trained = [str(name) for name in meta.get("features", [])]
    if trained != list(features):
        new = ", ".join(f"`{n}`" for n in features if n not in trained) or "none"
        gone = ", ".join(f"`{n}`" for n in trained if n not in features) or "none"
        raise BadArtifact(
            f"{what} was trained on {len(trained)} features, this build has {len(features)} "
            f"(new: {new}; gone: {gone}); retrain or roll back"
        )
    for key, own in (("hash_bits", HASH_BITS), ("featuriser", FEATURISER_VERSION)):
        if meta.get(key) != own:
            raise BadArtifact(
                f"{what} was trained with {key} {meta.get(key)}, this build has {own}; "
                "retrain or roll back"
            )
