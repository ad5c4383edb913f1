"""The filters that ship: one line each, its artifact found by the card in the store."""

from __future__ import annotations

from pathlib import Path

from feedmill.events.errors import BadArtifact
from feedmill.filters.model import Evidence, FilterModel
from feedmill.models.artifact import read_artifact
from feedmill.models.text_model import TextModel

STORE = Path(__file__).parent / "artifacts"
# What each filter reads.
FILTERS: dict[str, Evidence] = {
    "spam": Evidence(("text",), ("cues", "shape")),
    "nsfw": Evidence(("text", "hosts"), ("profanity", "shape", "links")),
    "misinformation": Evidence(("text", "paths"), ("shape",)),
}


def load(name: str, store: Path | None = None) -> TextModel:
    """Load a filter from `store` (the shipped one if None); raises `BadArtifact`.

    Called once at start and once per release; reads one file of well under a megabyte.
    """
    return load_filter(name, store)


def load_filter(name: str, store: Path | None = None) -> FilterModel:
    """Load a filter as what it is: several can then score one `PostBatch`."""
    if name not in FILTERS:
        raise BadArtifact(f"no filter `{name}`; there are: {', '.join(FILTERS)}")
    evidence = FILTERS[name]
    return FilterModel.of(read_artifact(store or STORE, name, evidence.names), evidence)
