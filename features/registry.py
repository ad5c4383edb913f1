"""The groups of feature columns that models can read: one line for each."""

from __future__ import annotations

from feedmill.features.post_batch import FeatureGroup
from feedmill.features.text.lexicon import LEXICON
from feedmill.features.text.profanity import PROFANITY

FEATURE_GROUPS: dict[str, FeatureGroup] = {group.name: group for group in (LEXICON, PROFANITY)}
