"""Stores of models for tests: the shipped ones, and versions made of them."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from feedmill.filters.model import STORE as FILTERS
from feedmill.models.artifact import (
    Arrays,
    ModelCard,
    pack_artifact,
    read_artifact,
    read_card,
    read_content,
    sha256_of,
)
from feedmill.models.store_files import Store
from feedmill.rankers.spec import STORE as RANKERS
from feedmill.streams.releases.loading import store_of

Change = Callable[[Arrays], None]
_CURVE = "curve_log_odds"


def shipped_store(folder: Path) -> Path:
    """Make a store of all shipped models."""
    folder.mkdir()
    for store in (FILTERS, RANKERS):
        for path in store.iterdir():
            if path.suffix in (".json", ".npz"):
                shutil.copy(path, folder)
    return folder


def _last_step(arrays: Arrays) -> list[str]:
    """Return the arrays that change every value: the calibration, else scale and bias."""
    return [_CURVE] if _CURVE in arrays else [key for key in arrays if key.startswith("linear_")]


def steeper(arrays: Arrays) -> None:
    """Move the last step of the model, so that every value is another one."""
    for key in _last_step(arrays):
        arrays[key] = arrays[key] * [1.25, 1.0, 1.0] if key != _CURVE else arrays[key] * 1.25 - 0.5


def add_version(
    store: Path, name: str, change: Change = steeper, features: tuple[str, ...] | None = None
) -> str:
    """Put another version of a model beside the one of its card; return its sha256."""
    card = read_card(store, name)
    shipped = read_card(store_of(name, None), name)
    columns = _columns(store_of(name, None), shipped)
    artifact = read_artifact(store, name, columns)
    arrays = dict(artifact.arrays)
    change(arrays)
    return add_content(store, card, pack_artifact(artifact.metadata, features or columns, arrays))


def add_content(store: Path, card: ModelCard, content: bytes) -> str:
    """Put bytes and a card of them into a store, without installing them."""
    sha256 = sha256_of(content)
    (store / f"{sha256}.npz").write_bytes(content)
    path = store / f"{card.name}@{sha256[:12]}.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(card, sha256=sha256)))
    return sha256


def _columns(store: Store, card: ModelCard) -> tuple[str, ...]:
    content = read_content(store, card.name, card.sha256)
    with np.load(io.BytesIO(content), allow_pickle=False) as members:
        return tuple(msgspec.json.decode(members["meta"].tobytes())["features"])
