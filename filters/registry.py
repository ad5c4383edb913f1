"""The filters that ship: one line each, its artifact found by the card in the store."""

from __future__ import annotations

from pathlib import Path

from feedmill.events.errors import BadArtifact
from feedmill.features.artifact import read
from feedmill.features.model import StackedText, TextModel, feature_names

STORE = Path(__file__).parent / "artifacts"
# Each filter's linear tables; a filter of another form gets a branch of its own in `load`.
FILTERS: dict[str, tuple[str, ...]] = {
    "spam": ("text",),
    "nsfw": ("text",),
    "misinformation": ("text",),
}


def load(name: str, store: Path | None = None) -> TextModel:
    """Load a filter from `store` (the shipped one if None); raises `BadArtifact`.

    Called once at start and once per release; reads one file of well under a megabyte.
    """
    return load_text(name, store)


def load_text(name: str, store: Path | None = None) -> StackedText:
    """Load a filter as what it is, to score texts without posts around them."""
    if name not in FILTERS:
        raise BadArtifact(f"no filter `{name}`; there are: {', '.join(FILTERS)}")
    tables = FILTERS[name]
    return StackedText.of(read(store or STORE, name, feature_names(tables)), tables)
