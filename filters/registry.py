"""The filters by name: the file `filters/<name>.py` of each built-in gate has its `FILTER`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from feedmill.events.built_in import BUILT_IN_GATES
from feedmill.events.errors import BadArtifact
from feedmill.filters.model import FilterModel, FilterSpec
from feedmill.models.store_files import Store

FILTERS: Mapping[str, FilterSpec] = {
    name: import_module(f"{__package__}.{name}").FILTER for name in BUILT_IN_GATES
}


def load(name: str, store: Store | None = None, sha256: str | None = None) -> FilterModel:
    """Load a filter's model by name, as `FilterSpec.load`; raises `BadArtifact`."""
    if name not in FILTERS:
        raise BadArtifact(f"no filter `{name}`; there are: {', '.join(FILTERS)}")
    return FILTERS[name].load(store, sha256)
