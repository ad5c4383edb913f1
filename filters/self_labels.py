"""What authors say of their own posts: some labels are believed, and raise a filter's value."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

from feedmill.events.post import Post
from feedmill.models.text_model import Scores

# Above the default hide_at: nobody gives a walk in the woods such a label.
SELF_LABELLED_VALUE = 0.95


def raise_self_labelled(believed: Set[str], posts: Sequence[Post], values: Scores) -> Scores:
    """Raise the values of posts whose author gives one of the believed labels.

    Parameters
    ----------
    believed
        Labels, case-folded; with none of them the values come back as they are.
    posts
        n posts.
    values
        (n,) float64 in [0, 1]; not changed in place.

    Returns
    -------
    (n,) float64: at least `SELF_LABELLED_VALUE` where the author gives a believed label.
    """
    if not believed:
        return values
    labelled = [
        any(label.casefold() in believed for label in post.self_labels or ()) for post in posts
    ]
    if not any(labelled):
        return values
    return np.where(labelled, np.maximum(values, SELF_LABELLED_VALUE), values)
