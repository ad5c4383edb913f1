"""The filters of this installation, a line each: the file `filters/<name>.py` has its `FILTER`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from feedmill.events.errors import BadArtifact
from feedmill.filters.model import FilterModel
from feedmill.filters.spec import FilterSpec
from feedmill.models.store_files import Store

_FILES = (
    "spam",
    "nsfw",
    "misinformation",
)


def _read_files() -> dict[str, FilterSpec]:
    """Return the specs by name, in the order of the files."""
    specs: list[FilterSpec] = [import_module(f"{__package__}.{file}").FILTER for file in _FILES]
    return {spec.name: spec for spec in specs}


FILTERS: Mapping[str, FilterSpec] = _read_files()


def load(name: str, store: Store | None = None, sha256: str | None = None) -> FilterModel:
    """Load a filter's model by name, as `FilterSpec.load`; raises `BadArtifact`."""
    if name not in FILTERS:
        raise BadArtifact(f"no filter `{name}`; there are: {', '.join(FILTERS)}")
    return FILTERS[name].load(store, sha256)
