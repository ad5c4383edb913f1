"""A text model on the posts of a batch: what it says of each, or why it failed on one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import TextModel

_ERROR_CHARACTERS = 500


def score_posts(model: TextModel, posts: PostBatch) -> BatchVerdicts:
    """What the model says of each post, or why it failed on one.

    A batch on which the model raises is scored post by post, so that one post that breaks
    it takes no other along.
    """
    if not len(posts):
        return BatchVerdicts(np.zeros(0), {})
    try:
        values = model.score_batch(posts)
    except Exception:  # noqa: BLE001 - a model may raise anything; found out post by post
        return _one_by_one(model, posts.posts)
    return BatchVerdicts(values, wrong_values(values))


def _one_by_one(model: TextModel, posts: Sequence[Post]) -> BatchVerdicts:
    values, errors = np.zeros(len(posts)), {}
    for i, post in enumerate(posts):
        try:
            values[i] = model.score_many([post])[0]
        except Exception as error:  # noqa: BLE001 - goes into the signal
            errors[i] = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
    return BatchVerdicts(values, {**wrong_values(values), **errors})


def wrong_values(values: npt.NDArray[np.float64]) -> dict[int, str]:
    """Return by row why a value, of (rows,), is none that a signal may have."""
    bad = [i for i, value in enumerate(values.tolist()) if not 0 <= value <= 1]
    return {i: f"the model returned {values[i]!r}, outside [0, 1]" for i in bad}
