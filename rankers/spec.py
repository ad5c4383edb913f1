"""What a model ranker consists of: one `RankerSpec` in one file, `rankers/<name>.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from feedmill.models.artifact import Artifact, read_artifact, store_with
from feedmill.models.store_files import Store

STORE = Path(__file__).parent / "artifacts"
Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class RankerSpec(Generic[Model]):
    """One ranker: all that serving knows of it.

    Attributes
    ----------
    name
        The objective whose signal it writes.  Its file, its stage, its artifact and its trainer
        in `training/trainers/registry.py` have the same name.
    features
        The names of the columns that its model reads, as its artifact has them.
    build
        Makes the model of a checked artifact; raises `BadArtifact`.
    """

    name: str
    features: tuple[str, ...]
    build: Callable[[Artifact], Model]

    def load(self, store: Store | None = None, sha256: str | None = None) -> Model:
        """Load the model that the card names, or a version of it; from `store`, else as it ships.

        Called once at start and once per release; reads one file of well under a megabyte.

        Raises
        ------
        BadArtifact
            There is no card or artifact, it was altered, or it was trained on other features.
        """
        where = store_with(store, self.name, STORE, sha256)
        return self.build(read_artifact(where, self.name, self.features, sha256))
