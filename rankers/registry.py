"""The model rankers that ship: one line each, found by the card in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from feedmill.events.errors import BadArtifact
from feedmill.models.artifact import Artifact, read_artifact
from feedmill.models.text_model import StackedTextModel, TextModel, stacked_columns
from feedmill.rankers.engagement import FEATURES, EngagementModel, ExpectedClicks

STORE = Path(__file__).parent / "artifacts"
QUALITY_TABLES = ("clickbait", "answer")


def _quality(artifact: Artifact) -> TextModel:
    return StackedTextModel.of(artifact, QUALITY_TABLES)


Build = Callable[[Artifact], TextModel | EngagementModel]
RANKERS: dict[str, tuple[Sequence[str], Build]] = {
    "quality": (stacked_columns(QUALITY_TABLES), _quality),
    "engagement": (FEATURES, ExpectedClicks.of),
}


def load(name: str, store: Path | None = None) -> TextModel | EngagementModel:
    """Load a ranker from `store` (the shipped one if None); raises `BadArtifact`."""
    if name not in RANKERS:
        raise BadArtifact(f"no ranker `{name}`; there are: {', '.join(RANKERS)}")
    features, build = RANKERS[name]
    return build(read_artifact(store or STORE, name, features))
