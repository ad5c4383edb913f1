"""What a filter consists of: one `FilterSpec` in one file, `filters/<name>.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from feedmill.events.gates import GatePolicy
from feedmill.filters.model import Evidence, FilterModel
from feedmill.models.artifact import read_artifact
from feedmill.models.store import store_with
from feedmill.models.store_files import Store

STORE = Path(__file__).parent / "artifacts"


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter: all that serving and training know of it.

    Attributes
    ----------
    name
        The gate whose signal it writes.  Its file, its stage and its artifact have the same name.
    evidence
        What its model reads of a post.
    recipe
        The name of the recipe in `training/recipes.py` that its model is trained by.
    reads_near_copies
        Whether earlier near copies of a post raise its value (`raised_values.py`).  Each instance
        then reads all of `posts` and keeps about 41 MB.
    believed_self_labels
        An author who gives a post one of these labels is believed; case-folded.
    gate
        The policy of its gate where no setting says otherwise.
    """

    name: str
    evidence: Evidence
    recipe: str
    reads_near_copies: bool = False
    believed_self_labels: frozenset[str] = frozenset()
    gate: GatePolicy = field(default_factory=GatePolicy)

    def load(self, store: Store | None = None, sha256: str | None = None) -> FilterModel:
        """Load the model that the card names, or a version of it; from `store`, else as it ships.

        Called once at start and once per release; reads one file of well under a megabyte.

        Raises
        ------
        BadArtifact
            There is no card or artifact, it was altered, or it was trained on other evidence.
        """
        where = store_with(store, self.name, STORE, sha256)
        artifact = read_artifact(where, self.name, self.evidence.names, sha256)
        return FilterModel.of(artifact, self.evidence, self.believed_self_labels)
