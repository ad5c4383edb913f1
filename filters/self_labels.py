"""What authors say of their own posts: a label of adult content is taken at its word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedmill.events.post import Post
from feedmill.models.text_model import Scores

# Bluesky's labels of content, and what other products call the same.
ADULT = frozenset(("porn", "sexual", "nudity", "graphic-media", "nsfw", "adult", "gore", "nsfl"))
# Above the shipped hide_at: nobody labels a walk in the woods so.
SAID = 0.95


def raise_self_labelled(filter_name: str, posts: Sequence[Post], values: Scores) -> Scores:
    """Return the values, (posts,), those of nsfw at least `SAID` where the author says so."""
    if filter_name != "nsfw":
        return values
    said = [any(label.casefold() in ADULT for label in post.self_labels or ()) for post in posts]
    return np.where(said, np.maximum(values, SAID), values)
