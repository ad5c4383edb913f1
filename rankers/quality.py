"""Quality: how well a text reads beside ordinary posts, in [0, 1]."""

from __future__ import annotations

from feedmill.models.artifact import Artifact
from feedmill.models.text_model import StackedTextModel, TextModel, stacked_columns
from feedmill.rankers.spec import RankerSpec

# The n-gram models below its trees, by their names in the artifact.
NGRAM_MODELS = ("clickbait", "answer")
FEATURES = stacked_columns(NGRAM_MODELS)


def build(artifact: Artifact) -> TextModel:
    """Build the model from a checked artifact; raises `BadArtifact`."""
    return StackedTextModel.of(artifact, NGRAM_MODELS)


RANKER: RankerSpec[TextModel] = RankerSpec("quality", FEATURES, build)
