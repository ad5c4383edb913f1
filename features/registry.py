"""The groups of feature columns that models can read: one line for each."""

from __future__ import annotations

from feedmill.features.feature_group import FeatureGroup
from feedmill.features.links import LINKS
from feedmill.features.text.lexicon import LEXICON
from feedmill.features.text.profanity import PROFANITY
from feedmill.features.text.shape import SHAPE

FEATURE_GROUPS: dict[str, FeatureGroup] = {
    group.name: group for group in (LEXICON, LINKS, PROFANITY, SHAPE)
}
