"""What text models say of the posts of a batch: the model in force, and a candidate beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.worker.step import WorkBatch

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


def values_of_rows(model: TextModel, posts: PostBatch, rows: Sequence[int]) -> Scores:
    """Return what a model says of some posts of a batch: (rows,) in [0, 1].

    Raises
    ------
    ValueError
        It says something else of one of them; it may raise anything else itself.
    """
    try:
        # The features of the whole batch are there: the model in force has read them.
        values = np.asarray(model.score_batch(posts))[rows]
    except Exception:  # noqa: BLE001 - a post that is none of these may be what breaks it
        values = np.asarray(model.score_batch(PostBatch([posts.posts[row] for row in rows])))
    if wrong := wrong_values(values):
        raise ValueError(next(iter(wrong.values())))
    return values


@dataclass
class CanaryScoring:
    """The candidate of a step, and the partitions of `posts` that it judges.

    Attributes
    ----------
    model, loaded
        As of `HoldsModel`.
    failure
        What the candidate raised, or said outside [0, 1]; "" while it judges.  After a failure
        it judges no more: the posts of that cycle, too, keep what the model in force says.
    """

    model: TextModel
    partitions: Collection[int]
    failure: str = ""
    loaded: TextModel = field(init=False)

    def __post_init__(self) -> None:
        self.loaded = self.model

    def judges(self, partition: int) -> bool:
        """Return whether the candidate judges the posts of a partition."""
        return not self.failure and partition in self.partitions

    def score(self, work: WorkBatch, verdicts: BatchVerdicts) -> BatchVerdicts:
        """Return the verdicts with the candidate's on its partitions; raises nothing of its own.

        `verdicts` are those of the model in force on all posts of the cycle.
        """
        parts = [part.rows for part in work.partitions if self.judges(part.source.partition)]
        rows = [row for part in parts for row in part]
        if not rows:
            return verdicts
        try:
            values = values_of_rows(self.model, work.posts, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self.failure = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
            return verdicts
        merged, judged = verdicts.values.copy(), set(rows)
        merged[rows] = values
        errors = {row: text for row, text in verdicts.errors.items() if row not in judged}
        return BatchVerdicts(merged, errors)
