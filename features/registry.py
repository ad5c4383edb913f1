"""The groups of feature columns that models can read: one line for each."""

from __future__ import annotations

from feedmill.features.feature_group import FeatureGroup, FeatureMatrix
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.lexicon import LEXICON
from feedmill.features.text.profanity import PROFANITY

FEATURE_GROUPS: dict[str, FeatureGroup] = {group.name: group for group in (LEXICON, PROFANITY)}


def feature_columns(batch: PostBatch, group: str) -> FeatureMatrix:
    """Return the columns of a group in the registry: (posts, columns), float32, finite."""
    return batch.computed(FEATURE_GROUPS[group].compute)
