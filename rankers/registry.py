"""The model rankers of this installation: the file `rankers/<name>.py` has its `RANKER`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from feedmill.events.errors import BadArtifact
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.rankers import engagement
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.spec import RankerSpec

# The rankers by the text of posts, a line each; `TextModelStep` runs them.
_TEXT_FILES = ("quality",)


TEXT_RANKERS: Mapping[str, RankerSpec[TextModel]] = {
    name: import_module(f"{__package__}.{name}").RANKER for name in _TEXT_FILES
}
# Exactly one: its stage owns the topic `counters`.
ENGAGEMENT_RANKER: RankerSpec[ExpectedClicks] = engagement.RANKER
RANKERS: Mapping[str, RankerSpec[Any]] = {
    **TEXT_RANKERS,
    ENGAGEMENT_RANKER.name: ENGAGEMENT_RANKER,
}


def load(
    name: str, store: Store | None = None, sha256: str | None = None
) -> TextModel | ExpectedClicks:
    """Load a ranker's model by name, as `RankerSpec.load`; raises `BadArtifact`."""
    if name not in RANKERS:
        raise BadArtifact(f"no ranker `{name}`; there are: {', '.join(RANKERS)}")
    model: TextModel | ExpectedClicks = RANKERS[name].load(store, sha256)
    return model
