"""Model artifacts: a file of arrays, named by its sha256, and a model card beside it.  No pickle.

A store is a folder, or a place on an S3 server (`store_files`).  ``<name>.json`` is the card of the
version that was trained last, ``<name>@<version>.json`` that of another version,
``<sha256>.npz`` the artifact that a card names.  Earlier models stay.  The same arrays give the
same bytes, so that two models with the same sha256 are the same model.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact, UsageError
from feedmill.events.limits import Sha256
from feedmill.events.reasons import DECODE_ERRORS, reason_of
from feedmill.features.text.ngrams import HASH_BITS
from feedmill.models.store_files import (
    Store,
    file_sizes,
    has_file,
    place_of,
    read_file,
    read_files,
    read_hashed,
    write_file,
)

Arrays = dict[str, npt.NDArray[Any]]
# Raise this number when tokens or feature columns change their meaning, but not their names.
FEATURISER_VERSION = 3
# Models take a few megabytes; a member of zeros unpacks to a thousand times its size.
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
_MOST_CARD_BYTES = 1024 * 1024


class Purge(msgspec.Struct, frozen=True):
    """Rows that were taken out of a snapshot: the day, ISO 8601, and how many."""

    on: str
    rows: int


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rows of a data set as a training read them, kept as ``snapshots/<sha256>.parquet``.

    Attributes
    ----------
    sha256, rows, columns
        Of the file that is there now.
    purged
        What was taken out since the training: posts that were deleted.
    """

    sha256: Sha256
    rows: int
    columns: tuple[str, ...]
    purged: tuple[Purge, ...] = ()


class DataUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A data set that a model learned from.

    Attributes
    ----------
    file, rows, licence
        The name of the file, how many of its rows trained the model, the licence as stated.
    role
        What the rows were for.
    sha256
        Of the file.
    split
        The rule that says which rows of the file neither trained nor tuned the model.
    snapshot
        The rows themselves, where the training kept them.
    """

    file: str
    rows: int
    licence: str
    role: str
    sha256: str = ""
    split: str = ""
    snapshot: Snapshot | None = None


class CodeVersion(msgspec.Struct, frozen=True):
    """The code that trained a model: the package's version, and a hash over its files."""

    package: str
    source_sha256: str


class ModelCard(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model is, what it learned from, and what it can do, as its trainer measured it.

    `models.cards` shows it in the sections of Mitchell et al. 2019, "Model Cards for Model
    Reporting".

    Attributes
    ----------
    name, sha256
        The signal that the model gives, and the sha256 of its artifact in hexadecimal digits.
    trained_on
        The day, ISO 8601.
    features
        The number of feature columns.
    metrics
        By name, measured on rows that neither trained nor tuned the model.
    weaknesses
        What the model cannot do and where it is known to fail, a sentence each.
    command
        The command that trains it.
    intervals
        The ends of the 95 % interval of those metrics that have one.
    intended_use, factors, ethics
        What it is for and what not, by what its figures differ, whom its errors harm: sentences.
    licence
        Of the model itself; each data set has its own.
    code, libraries
        What trained it, with versions.
    recipe, parameters, seed
        How it was trained.
    """

    name: str
    sha256: Sha256
    trained_on: str
    summary: str
    features: int
    data: list[DataUse]
    metrics: dict[str, float]
    weaknesses: list[str]
    command: str
    intervals: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    intended_use: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    ethics: tuple[str, ...] = ()
    licence: str = ""
    code: CodeVersion | None = None
    libraries: dict[str, str] = msgspec.field(default_factory=dict)
    recipe: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    seed: int | None = None

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact whose bytes and features have been checked.

    Attributes
    ----------
    name, version
        Of the card.
    arrays
        By key; what each means is up to the model that reads it.
    metadata
        The trainer's constants, and what the artifact was packed with: ``features``,
        ``hash_bits``, ``featuriser``.
    """

    name: str
    version: str
    arrays: Arrays
    metadata: dict[str, Any]

    @property
    def label(self) -> str:
        """How errors name the model: ``model `spam@0123456789ab` ``."""
        return _label(self.name, self.version)


def _label(name: str, version: str) -> str:
    return f"model `{name}@{version}`"


def pack_artifact(metadata: Mapping[str, Any], features: Sequence[str], arrays: Arrays) -> bytes:
    """Return the bytes of an artifact, the same for the same arguments on every machine.

    Parameters
    ----------
    metadata
        Constants of the model, as JSON can hold them.
    features
        The names of the feature columns that the model reads, in order.
    arrays
        The parts of the model; no array of objects.
    """
    full = {
        **metadata,
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
            # A bare ZipInfo has a fixed date, where writing a file would use the current one.
            info = zipfile.ZipInfo(f"{key}.npy")
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return file.getvalue()


def sha256_of(content: bytes) -> str:
    """Return the sha256 of bytes in 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file in 64 hexadecimal digits; raises `UsageError`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def save_artifact(store: Store, card: ModelCard, content: bytes, *, as_newest: bool = True) -> None:
    """Write artifact and card into a store.

    No earlier model is deleted: its card becomes ``<name>@<version>.json``, and with that file in
    the place of ``<name>.json`` the store holds it again.  A model that is not stored `as_newest`
    gets such a card itself, and the one of ``<name>.json`` stays.

    Raises `BadArtifact`: the card that is there is none; `OSError` or `UsageError`: the store
    cannot be written.
    """
    current, own = f"{card.name}.json", f"{card.name}@{card.version}.json"
    if as_newest:
        before = _read_if_there(store, current)
        old = None if before is None else _decode_card(before, store, card.name)
        if before is not None and old is not None and old.sha256 != card.sha256:
            write_file(store, f"{old.name}@{old.version}.json", before)
    write_file(store, f"{card.sha256}.npz", content)
    write_file(store, current if as_newest else own, card_file(card))


def card_file(card: ModelCard) -> bytes:
    """Return the content of a card's file."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def _read_if_there(store: Store, name: str) -> bytes | None:
    try:
        return read_file(store, name, _MOST_CARD_BYTES)
    except FileNotFoundError:
        return None


def read_card(store: Store, name: str) -> ModelCard:
    """Read the card of a model in a store.

    Raises `BadArtifact`: the card is missing, or its text is no model card; `UsageError`: the store
    cannot be read.
    """
    try:
        content = read_file(store, f"{name}.json", _MOST_CARD_BYTES)
    except OSError as error:
        has_folder = not isinstance(store, Path) or store.is_dir()
        way_out = "train it or restore the file"
        raise BadArtifact(
            f"model `{name}`: no card at {place_of(store, f'{name}.json')} ({error.strerror});"
            f" {way_out if has_folder else 'there is no such folder: make it, or correct its name'}"
        ) from error
    return _decode_card(content, store, name)


def _decode_card(content: bytes, store: Store, name: str) -> ModelCard:
    try:
        return msgspec.json.decode(content, type=ModelCard)
    except DECODE_ERRORS as error:
        path = place_of(store, f"{name}.json")
        raise BadArtifact(
            f"model `{name}`: {path} is not a model card ({reason_of(error)}); restore the file, or"
            " remove it and retrain"
        ) from error


def read_artifact(
    store: Store, name: str, features: Sequence[str], sha256: str | None = None
) -> Artifact:
    """Read a model of a store, and check that it is the one meant, and fits this build.

    Parameters
    ----------
    store, name
        The store, and the model's name in it.
    features
        The names of the feature columns that this build computes for the model, in order.
    sha256
        Of the artifact, in 64 small hexadecimal digits; None for the one that the card names.

    Raises `BadArtifact`: a file is missing or altered, or it is another model, or the model was
    trained on other features, another number of hash bits or another version of the featuriser;
    `UsageError`: the file is too large, or the store cannot be read.
    """
    sha256 = read_card(store, name).sha256 if sha256 is None else sha256
    label = _label(name, sha256[:12])
    content = read_content(store, name, sha256)
    arrays, metadata = unpack_artifact(content, label)
    if metadata.get("name") != name:
        raise BadArtifact(
            f"{label}: the artifact is of the model `{metadata.get('name')}`; release the right one"
        )
    _check_features(label, metadata, features)
    return Artifact(name, sha256[:12], arrays, metadata)


def read_content(store: Store, name: str, sha256: str) -> bytes:
    """Read the bytes of an artifact, and check their sha256; raises as `read_artifact` does."""
    return read_hashed(
        store,
        sha256,
        _label(name, sha256[:12]),
        if_missing="train it or restore the file",
        if_altered="restore the file or retrain",
    )


def unpack_artifact(content: bytes, label: str) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the metadata of an artifact's bytes; `label` names it in errors.

    Raises `BadArtifact`: the bytes are no artifact, or one that is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_unpacked_size(archive)
        with np.load(io.BytesIO(content), allow_pickle=False) as members:
            arrays = {key: members[key] for key in members.files}
        metadata = msgspec.json.decode(arrays.pop("meta").tobytes(), type=dict[str, Any])
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member is no array")
    except Exception as error:  # whatever zipfile and numpy raise, the file is at fault
        raise BadArtifact(f"{label}: not an artifact ({error}); retrain") from error
    return arrays, metadata


def _check_unpacked_size(archive: zipfile.ZipFile) -> None:
    """Check what the members say of their sizes: zipfile unpacks no more than that."""
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_UNPACKED_BYTES:
        raise ValueError(f"{size} bytes once unpacked, {MAX_UNPACKED_BYTES} at most")


def _check_features(label: str, metadata: Mapping[str, Any], features: Sequence[str]) -> None:
    stored = metadata.get("features")
    trained = [str(name) for name in stored] if isinstance(stored, list) else []
    if trained != list(features):
        new = ", ".join(f"`{n}`" for n in features if n not in trained) or "none"
        gone = ", ".join(f"`{n}`" for n in trained if n not in features) or "none"
        raise BadArtifact(
            f"{label} was trained on {len(trained)} features, this build has {len(features)} "
            f"(new: {new}; gone: {gone}); retrain or roll back"
        )
    for key, current in (("hash_bits", HASH_BITS), ("featuriser", FEATURISER_VERSION)):
        if metadata.get(key) != current:
            raise BadArtifact(
                f"{label} was trained with {key} {metadata.get(key)}, this build has {current}; "
                "retrain or roll back"
            )


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
